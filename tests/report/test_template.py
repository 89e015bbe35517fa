from spectrum_matching.report.template import unbroken


def test_options_do_not_break_and_text_is_escaped():
    assert unbroken("needs --reference and --source.flatten -1.03 <b>.") == (
        'needs <span class="option">--reference</span> and <span class="option">--source.flatten</span> -1.03 '
        "&lt;b&gt;."
    )
