"""The tables of the protocol as the code has them; what they mean stands in PROTOCOL.md."""

from __future__ import annotations

from omendb_ws.wire import opcodes
from omendb_ws.wire.opcodes import Field, Kind, Op

from .markdown import MADE, code, codes, number, table

#: numpy's names of types -> the protocol's.
_DTYPES = {"|u1": "u8", "<u4": "u32", "<u8": "u64", "<i8": "i64", "<f4": "f32", "<f8": "f64"}
#: What ``most`` is where nothing is said.
_UNBOUNDED = Field("any", "integer").most


def _bounds(field: Field) -> str:
    if field.choices:
        return " | ".join(field.choices)
    if isinstance(field.most, str):
        most = code(field.most)
    elif field.most == _UNBOUNDED:
        most = ""
    else:
        most = number(field.most)
    if field.type in ("integer", "k", "batch") and (field.least or most):
        return f"from {field.least}" + (f" to {most}" if most else "")
    return f"at most {most}" if most else ""


def _fields(fields: tuple[Field, ...]) -> str:
    rows = [
        [code(field.name), "yes" if field.required else "", opcodes.JSON_TYPES[field.type],
         _bounds(field)]
        for field in fields
    ]  # fmt: skip
    return table(["field", "required", "type", "values"], rows)


def _op(op: Op) -> str:
    right = {"none": "none", "any": "any one"}.get(op.right, code(op.right))
    if op.server_right and op.server_right != op.right:
        right += f"; without `collection` {code(op.server_right)}"
    text = f"\n### `{op.name}`\n\nRight: {right}."
    if op.change:
        text += " A change: it takes effect in the order sent."
    if op.one_of:
        text += f" Exactly one of {codes(op.one_of)}."
    text += f" The reply's `ok` holds {codes(op.reply)}.\n" if op.reply else " `ok` is empty.\n"
    if op.name == "subscribe":
        return text + "\nIts fields depend on `kind`: see [subscriptions](#subscriptions).\n"
    return text + ("\n" + _fields(op.fields) if op.fields else "")


def _kind(kind: Kind) -> list[str]:
    sections = ["JSON"] if kind.json else []
    for part in kind.sections:
        shape = "".join(f"[{one}]" for one in part.shape if one != "1")
        flag = f" (flag {part.flag})" if part.flag else ""
        sections.append(f"`{part.name}` `{_DTYPES[part.dtype]}{shape}`{flag}")
    if kind.columns_flag:
        sections.append(f"columns (flag {kind.columns_flag})")
    return [
        str(kind.number), code(kind.name), kind.direction, ", ".join(sections), codes(kind.json)
    ]  # fmt: skip


def protocol() -> str:
    """Ops, subscriptions, binary messages."""
    subscriptions = "".join(
        f"\n### `{kind}`\n\n{_fields(fields)}"
        for kind, fields in opcodes.SUBSCRIPTION_KINDS.items()
    )
    kinds = table(
        ["kind", "name", "direction", "sections, in order", "fields of the JSON section"],
        [_kind(kind) for kind in opcodes.KINDS.values()],
    )
    reasons = [[str(value), reason] for value, reason in enumerate(opcodes.LEAVE_REASONS)]
    return (
        f"{MADE}# Protocol\n\n"
        "[PROTOCOL.md](../../PROTOCOL.md) is the contract: what each message means and promises. "
        "This page is the same tables as the server reads them. A server describes itself to "
        "machines at `/asyncapi.yaml`.\n\n"
        f"A request is a JSON object with `id`, `op` and the fields of that op. The rights are "
        f"{codes(opcodes.RIGHTS)}.\n\n## Ops\n"
        + "".join(_op(op) for op in opcodes.OPS.values())
        + "\n## Subscriptions\n"
        + subscriptions
        + "\nA row leaves a live answer for one of these reasons:\n\n"
        + table(["in binary", "reason"], reasons)
        + "\n## Binary messages\n\n"
        + kinds
    )
