"""What a scorer takes from its user: `--scorer file.py,KEY=VALUE`, described by type hints and defaults."""
import collections.abc
import enum
import inspect
import pathlib
import re
import typing

_KEY = re.compile(r"[a-z0-9_.-]+\Z")


class Setting:
    """Says more of a setting than its type does: `steps: Annotated[int, Setting(1, 100, help="Points of the path")] = 8`."""

    def __init__(self, minimum=None, maximum=None, *, help="", unit=None):
        self.minimum, self.maximum, self.help, self.unit = minimum, maximum, help, unit


class BadSetting(Exception):
    """A setting that cannot be described, or a value that it does not take."""


class Parameter:
    """One setting: its key, what values are, and how a text becomes one."""

    def __init__(self, key, hint, default, help):
        if not _KEY.match(key):
            raise BadSetting("setting '%s' is not made of a-z, 0-9, '_'; rename it" % key)
        self.key = key
        self.more = Setting()
        if typing.get_origin(hint) is typing.Annotated:
            hint, *notes = typing.get_args(hint)
            self.more = next((note for note in notes if isinstance(note, Setting)), self.more)
        self.is_list = typing.get_origin(hint) in (list, collections.abc.Sequence)
        if self.is_list:
            hint = (typing.get_args(hint) or (str,))[0]
        self.choices = []
        self.kind, self._read = self._type(hint)
        self.help = self.more.help or help or "as its author knows"
        self.default = None if default is inspect.Parameter.empty else self._text(default)

    def _type(self, hint):
        if typing.get_origin(hint) is typing.Literal and all(isinstance(x, str) for x in typing.get_args(hint)):
            self.choices = list(typing.get_args(hint))
            return "choice", str
        if isinstance(hint, type) and issubclass(hint, enum.Enum):
            self.choices = [member.name for member in hint]
            return "choice", hint.__getitem__
        kinds = {
            bool: ("bool", {"true": True, "false": False}.__getitem__), int: ("integer", int), float: ("number", float),
            str: ("text", str), pathlib.Path: ("path", pathlib.Path),
        }
        if hint not in kinds:
            raise BadSetting(
                "setting '%s' has the type %s; write bool, int, float, str, pathlib.Path, Literal[\"a\", \"b\"], an Enum, or a "
                "list of one of these" % (self.key, getattr(hint, "__name__", hint)))
        return kinds[hint]

    def _text(self, default):
        if self.is_list:
            if isinstance(default, str) or len(default) == 0:
                raise BadSetting("setting '%s' has the default %r; give a list of one or more" % (self.key, default))
            return ";".join(self._element_text(element) for element in default)
        return self._element_text(default)

    def _element_text(self, value):
        if isinstance(value, bool):
            text = "true" if value else "false"
        elif isinstance(value, enum.Enum):
            text = value.name
        elif isinstance(value, (int, float)):
            # A float's default may be written as a whole number.
            text = repr(float(value) if self.kind == "number" else value)
        else:
            text = str(value)
        try:
            self._element(text)
        except BadSetting:
            raise BadSetting(
                "setting '%s' has the default %r, which is not of its type; give one that is, or none" % (self.key, value)
            ) from None
        return text

    def value(self, text):
        """What a user wrote, as the scorer gets it."""
        return [self._element(part) for part in text.split(";")] if self.is_list else self._element(text)

    def _element(self, text):
        try:
            if self.choices and text not in self.choices:
                raise ValueError
            value = self._read(text)
        except (ValueError, KeyError):
            raise BadSetting("%s is '%s', which is not of its type, %s" % (self.key, text, self.kind)) from None
        if self.kind in ("integer", "number"):
            low, high = self._bounds
            # Not a number is in no range.
            if not (low <= value <= high) or value in (float("inf"), float("-inf")):
                raise BadSetting("%s is %s; give a number from %s to %s" % (self.key, text, low, high))
        return value

    @property
    def _bounds(self):
        low, high = self.more.minimum, self.more.maximum
        return (float("-inf") if low is None else low, float("inf") if high is None else high)

    @property
    def description(self):
        """As manifests have it."""
        result = {
            "key": self.key, "type": self.kind, "description": self.help, "flags": ["list"] if self.is_list else [],
        }
        optional = {
            "default": self.default, "unit": self.more.unit, "minimum": self.more.minimum, "maximum": self.more.maximum,
            "choices": self.choices or None,
        }
        result.update((key, value) for key, value in optional.items() if value is not None)
        return result


def of_function(function, skipped):
    """The settings of a function: its parameters but for the first `skipped`."""
    hints = typing.get_type_hints(function, include_extras=True)
    result = []
    for parameter in list(inspect.signature(function).parameters.values())[skipped:]:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise BadSetting("'*%s' is no setting; name each one, with its type" % parameter.name)
        result.append(_parameter(parameter.name, hints.get(parameter.name), parameter.default, function))
    return result


#: Attributes of a class of scorers that say what it is.
RESERVED = {"outputs", "passes", "state_version", "unit"}


def of_class(cls):
    """The settings of a class: what `__init__` takes, or, without one, its attributes with types."""
    if cls.__init__ is not object.__init__:
        return of_function(cls.__init__, skipped=1)
    hints = typing.get_type_hints(cls, include_extras=True)
    return [
        _parameter(name, hint, getattr(cls, name, inspect.Parameter.empty), cls)
        for name, hint in hints.items()
        if not name.startswith("_") and name not in RESERVED and typing.get_origin(hint) is not typing.ClassVar
    ]


def _parameter(name, hint, default, owner):
    if hint is None:
        if default is inspect.Parameter.empty:
            raise BadSetting("setting '%s' has neither a type nor a default; write %s: float" % (name, name))
        hint = type(default)
    line = re.search(r"^\s*%s:\s*(\S.*)$" % re.escape(name), inspect.getdoc(owner) or "", re.MULTILINE)
    return Parameter(name, hint, default, line.group(1).strip() if line else "")


def values(parameters, given):
    """The settings of a scorer, by name, from pairs of texts; those that are not given have their defaults."""
    known = {parameter.key: parameter for parameter in parameters}
    for key, _ in given:
        if key not in known:
            raise BadSetting("unknown setting '%s'; there %s" % (key, "are " + ", ".join(known) if known else "is none"))
    given = dict(given)
    result = {}
    for key, parameter in known.items():
        text = given.get(key, parameter.default)
        if text is None:
            raise BadSetting("setting '%s' has no default and was not given" % key)
        result[key] = parameter.value(text)
    return result
