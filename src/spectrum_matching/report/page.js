"use strict";
// Values of figures' points on hover, touch and arrow keys. Without this script, <title> shows them on hover.
(() => {
  const REACH = 26;
  const tip = document.createElement("div");
  tip.className = "tip";
  tip.setAttribute("role", "status");
  tip.hidden = true;
  document.body.append(tip);
  let active = null;

  const hide = () => {
    tip.hidden = true;
    if (active) active.classList.remove("shown");
    active = null;
  };
  const show = ({ circle, text }) => {
    if (active !== circle) hide();
    active = circle;
    active.classList.add("shown");
    tip.textContent = text;
    tip.hidden = false;
    const box = active.getBoundingClientRect();
    const x = box.x + box.width / 2 - tip.offsetWidth / 2;
    const above = box.y - tip.offsetHeight - 8;
    tip.style.left = `${Math.max(6, Math.min(x, document.documentElement.clientWidth - tip.offsetWidth - 6))}px`;
    tip.style.top = `${above < 6 ? box.bottom + 8 : above}px`;
  };

  for (const svg of document.querySelectorAll("figure svg")) {
    const points = [...svg.querySelectorAll(".points circle")].map((circle) => {
      const title = circle.querySelector("title");
      title.remove();
      return { circle, text: title.textContent, x: circle.cx.baseVal.value, y: circle.cy.baseVal.value };
    });
    if (!points.length) continue;
    const nearest = (event) => {
      const matrix = svg.getScreenCTM();
      const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(matrix.inverse());
      const distance = (point) => Math.hypot(point.x - at.x, point.y - at.y);
      const best = points.reduce((one, other) => (distance(other) < distance(one) ? other : one));
      return distance(best) * matrix.a <= REACH ? best : null;
    };
    const follow = (event) => {
      const point = nearest(event);
      if (point) show(point);
      else hide();
    };
    svg.addEventListener("pointermove", follow);
    svg.addEventListener("pointerdown", follow);
    svg.addEventListener("pointerleave", (event) => {
      if (event.pointerType !== "touch") hide();
    });

    const figure = svg.closest("figure");
    figure.tabIndex = 0;
    figure.addEventListener("blur", hide);
    figure.addEventListener("keydown", (event) => {
      if (event.key === "Escape") hide();
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      event.preventDefault();
      const index = points.findIndex((point) => point.circle === active);
      const next = index < 0 ? (step > 0 ? 0 : points.length - 1) : (index + step + points.length) % points.length;
      show(points[next]);
    });
  }

  // Terms explain themselves on hover, touch and focus; without this script, their title does on hover.
  for (const term of document.querySelectorAll(".term")) {
    const text = term.title;
    term.removeAttribute("title");
    term.setAttribute("aria-description", text);
    const explain = () => show({ circle: term, text });
    term.addEventListener("pointerenter", explain);
    term.addEventListener("focus", explain);
    term.addEventListener("blur", hide);
    term.addEventListener("click", explain);
    term.addEventListener("pointerleave", (event) => {
      if (event.pointerType !== "touch" && document.activeElement !== term) hide();
    });
    term.addEventListener("keydown", (event) => {
      if (event.key === "Escape") hide();
    });
  }
  document.addEventListener("pointerdown", (event) => {
    if (!event.target.closest("figure svg, .term")) hide();
  });
  addEventListener("scroll", hide, { passive: true, capture: true });
})();

// A drawing is saved as the page draws it, in the colours of paper, with its legend below.
(() => {
  const paper = document.styleSheets[0].cssRules[0].style;
  const standalone = (figure) => {
    const svg = figure.querySelector("svg").cloneNode(true);
    for (const points of svg.querySelectorAll(".points")) points.remove();
    const [x, y, width, height] = svg.dataset.whole.split(" ").map(Number);
    const attributes = { xmlns: "http://www.w3.org/2000/svg", viewBox: `${x} ${y} ${width} ${height}`, width, height };
    for (const [name, value] of Object.entries(attributes)) svg.setAttribute(name, value);
    svg.setAttribute("font-family", "Helvetica, Arial, sans-serif");
    svg.removeAttribute("aria-hidden");
    svg.removeAttribute("data-whole");
    const title = document.createElementNS(attributes.xmlns, "title");
    title.textContent = `${figure.querySelector("figcaption").textContent}: ${figure.getAttribute("aria-label")}`;
    svg.prepend(title);
    const text = new XMLSerializer().serializeToString(svg);
    return text.replace(/var\((--\w+)\)/g, (_, name) => paper.getPropertyValue(name).trim());
  };
  for (const links of document.querySelectorAll(".save")) {
    const figure = links.parentElement.querySelector("figure");
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "SVG";
    button.setAttribute("aria-label", `Save ${figure.querySelector("figcaption").textContent} as SVG`);
    button.addEventListener("click", () => {
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob([standalone(figure)], { type: "image/svg+xml" }));
      link.download = `${links.dataset.name}.svg`;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    });
    links.prepend(button);
  }
})();

// A heading sorts its table up, then down, then back; by the value, not by its text; what has no value comes last.
(() => {
  const NEXT = { none: "ascending", ascending: "descending", descending: "none" };
  const words = new Intl.Collator("en", { numeric: true });
  for (const table of document.querySelectorAll("table.sortable")) {
    const body = table.tBodies[0];
    const rows = [...body.rows];
    const heads = [...table.tHead.rows[0].cells];
    const sorted = (column, sign) => {
      const isNumber = rows.some((row) => row.cells[column].dataset.sort);
      const key = (row) => {
        const cell = row.cells[column];
        if (!isNumber) return cell.dataset.text ?? cell.textContent.trim();
        return cell.dataset.sort ? Number(cell.dataset.sort) : null;
      };
      return [...rows].sort((one, other) => {
        const [a, b] = [key(one), key(other)];
        if (a === null || b === null) return (a === null) - (b === null);
        return sign * (isNumber ? a - b : words.compare(a, b));
      });
    };
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      const sign = document.createElement("span");
      sign.className = "order";
      sign.setAttribute("aria-hidden", "true");
      button.insertBefore(sign, button.querySelector("small"));
      head.append(button);
      head.setAttribute("aria-sort", "none");
      button.addEventListener("click", () => {
        const order = NEXT[head.getAttribute("aria-sort")];
        for (const each of heads) each.setAttribute("aria-sort", "none");
        head.setAttribute("aria-sort", order);
        body.append(...(order === "none" ? rows : sorted(column, order === "ascending" ? 1 : -1)));
      });
    });
  }
})();

// A link to a section opens what is folded away in it.
(() => {
  const unfold = () => {
    const section = document.getElementById(decodeURIComponent(location.hash.slice(1)))?.closest("section");
    const folded = section?.querySelector(":scope > details");
    if (folded) folded.open = true;
  };
  addEventListener("hashchange", unfold);
  unfold();
})();

// What is folded away on a screen is printed too.
(() => {
  const all = () => [...document.querySelectorAll("details")];
  let opened = [];
  addEventListener("beforeprint", () => {
    opened = all().filter((details) => !details.open);
    for (const details of opened) details.open = true;
  });
  addEventListener("afterprint", () => {
    for (const details of opened) details.open = false;
  });
})();
