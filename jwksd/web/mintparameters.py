"""The parameters by which a token is asked for, the same at /auth and /token."""

from collections.abc import Sequence
from dataclasses import replace

from jwksd.dev.defects import DEFECTS, Defect
from jwksd.errors import InvalidParameter
from jwksd.issuing.mintrequest import Expired, MintRequest
from jwksd.jose.algorithms import ALGORITHMS
from jwksd.jose.jsontext import shown
from jwksd.web.http.names import did_you_mean
from jwksd.web.http.parameters import Parameters, Table
from jwksd.web.http.values import (
    Parameter,
    json_object,
    object_text,
    only_json,
    plain,
    seconds,
    text,
)

_EXPIRED: dict[object, Expired] = {
    False: False,
    True: True,
    "false": False,
    "true": True,
    "token": "token",
}


def _expired(name: str, value: object) -> Expired:
    if isinstance(value, bool | str) and value in _EXPIRED:
        return _EXPIRED[value]
    raise InvalidParameter(f"{name} must be true, false or token, not {shown(value)}")


def _defect_name(name: str, value: object) -> str:
    if isinstance(value, str):
        return value
    raise InvalidParameter(f"no {name} is called {shown(value)}; GET /dev/defects lists them all")


PARAMETERS: Table = {
    "expired": plain(_expired),
    "alg": plain(text),
    "lifetime": plain(seconds),
    "claims": Parameter(json_object, object_text),
    "header": Parameter(json_object, only_json),
    "defect": plain(_defect_name),
}


def mint_request(parameters: Parameters, algorithms: Sequence[str], *, dev: bool) -> MintRequest:
    """Return what the parameters ask for; ``algorithms`` are the issuer's, the default one first.

    Raises:
        InvalidParameter: a defect is asked for without ``dev``, or does not exist, be it at all or
            for the type of key.
    """
    members = dict(parameters)
    name = members.pop("defect", None)
    wanted = MintRequest(**members)
    if name is None:
        return wanted
    defect = _defect(name, dev)
    _check_kind(defect, wanted.alg or algorithms[0], algorithms)
    return replace(wanted, seal_with=defect.seal, published=defect.published)


def _defect(name: str, dev: bool) -> Defect:
    if not dev:
        raise InvalidParameter("defect works only on a server that was started with --dev")
    if name in DEFECTS:
        return DEFECTS[name]
    raise InvalidParameter(
        f"no defect is called {shown(name)}{did_you_mean(name, DEFECTS)};"
        " GET /dev/defects lists them all"
    )


def _check_kind(defect: Defect, alg: str, algorithms: Sequence[str]) -> None:
    """Refuse a defect that keys for ``alg`` cannot have; what no key is for, the issuer refuses."""
    if alg in algorithms and ALGORITHMS[alg].kty not in defect.kinds:
        raise InvalidParameter(
            f"defect {defect.name} exists for {', '.join(sorted(defect.kinds))} keys only;"
            f" ask for another alg than {alg}"
        )
