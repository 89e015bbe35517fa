"""A device that does not exist, for tests: its tensors lie in memory, and are refused what MPS refuses."""

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakIdKeyDictionary

MPS = torch.device("mps", 0)
WIDE = {torch.float64, torch.complex128}


class OnDevice(Tensor):
    """A tensor that says that it lies on the device; what torch computes from it lies there as well."""


class Device(TorchFunctionMode):
    """Let tensors be moved to "mps" and back, and raise TypeError where one of float64 is made there, or read in numpy.

    n: of the results that were made on the device. Parameters that a module moves stay themselves, and are known.
    """

    def __init__(self):
        super().__init__()
        self.n = 0
        self._moved = WeakIdKeyDictionary()

    def _is_here(self, value):
        return isinstance(value, OnDevice) or (isinstance(value, Tensor) and value in self._moved)

    def __torch_function__(self, function, types, args=(), kwargs=None):
        """Call a function of torch."""
        kwargs = dict(kwargs or {})
        here = any(map(self._is_here, args)) or any(map(self._is_here, kwargs.values()))
        if function is torch._C._nn._parse_to:  # of a module, which moves its tensors one by one
            return function(*args, **kwargs)
        if function == Tensor.device.__get__:
            return MPS if here else function(*args)
        if function == Tensor.data.__set__:
            if self._is_here(args[1]):
                self._moved[args[0]] = True
            else:
                self._moved.pop(args[0], None)
            return function(args[0], _plain(args[1]))
        if function in (Tensor.numpy, Tensor.__array__) and here:
            raise TypeError("can't convert mps:0 device type tensor to numpy")
        if function == Tensor.cpu:
            return self._fetched(function(*args, **kwargs))
        target = kwargs.get("device", None if function != Tensor.to else _target(args[1:]))
        if function == Tensor.to and isinstance(other := next(iter(args[1:]), None), Tensor):
            target = MPS if self._is_here(other) else torch.device("cpu")
        if target is not None:
            here = torch.device(target).type == "mps"
            args = tuple("cpu" if isinstance(each, str | torch.device) and each == target else each for each in args)
            kwargs |= {"device": "cpu"} if "device" in kwargs else {}
        result = function(*args, **kwargs)
        return self._placed(result) if here else (self._fetched(result) if target is not None else result)

    def _fetched(self, result):
        return result.detach() if result in self._moved else _plain(result)

    def _placed(self, result):
        if isinstance(result, tuple | list):
            kind = type(result)
            parts = map(self._placed, result)
            return kind(parts) if kind in (tuple, list) else result
        if not isinstance(result, Tensor):
            return result
        if result.dtype in WIDE:
            raise TypeError("Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64")
        self.n += 1
        return result if self._is_here(result) else result.as_subclass(OnDevice)


def _target(arguments):
    return next((each for each in arguments if isinstance(each, str | torch.device)), None)


def _plain(value):
    with torch._C.DisableTorchFunctionSubclass():
        return value.as_subclass(Tensor) if type(value) is OnDevice else value
