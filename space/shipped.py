"""What a study file may name: samplers, orders of promotion and engines that ship, each with its path.

A name is short for a path as `package.module:Class`, and a study file may hold such a path itself. Nothing is
imported here; `search.choose.samplers`, `search.choose.orders` and `search.engines.engines` import what a
study names.
"""

from space.errors import closest

SAMPLERS = {
    "pathfront": "search.choose.pathfront:Pathfront",
    "stratified": "search.choose.stratified:Stratified",
    "random": "search.choose.stratified:Random",
    "tpe": "optuna.samplers:TPESampler",
    "nsga2": "optuna.samplers:NSGAIISampler",
    "gp": "optuna.samplers:GPSampler",
}
PROMOTIONS = {
    "gain": "search.choose.gain:by_gain",
    "rank": "search.choose.promote:by_rank",
    "all": "search.choose.promote:by_start",
}
ENGINES = {"local": "search.engines.local:LocalEngine"}


def checked_name(kind: str, name: str, known: dict[str, str], of: str = "Class") -> str:
    """Check the form of a name in a study file.

    Args:
        kind: what it names, such as "sampler".
        name: a known name, `package.module:Class` or `package.module.Class`.
        known: name -> path.
        of: what a path leads to, "Class" or "function".

    Returns:
        The known name, or the path as `package.module:Class`.

    Raises:
        ValueError: it is neither; the message names the nearest known name.
    """
    if name in known:
        return name
    module, separator, attribute = name.rpartition(":") if ":" in name else name.rpartition(".")
    if separator and module and attribute:
        return f"{module}:{attribute}"
    raise ValueError(
        f"{kind} is {', '.join(known)} or package.module:{of}, got {name!r}{closest(name, known)}"
    )
