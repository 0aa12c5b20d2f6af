"""``native/function_tables.h``, written from the constants of ``function_tables.py``.

``python -m tests.core.scoring.functions_header`` writes it again.
"""

from __future__ import annotations

from omendb_core.model.types import F64
from omendb_core.scoring.function_tables import EXP_ENTRIES, LOG_ENTRIES, tables

from tests.core.compiling import NATIVE

HEADER = NATIVE / "function_tables.h"


def table(name: str, values: F64, length: str) -> str:
    cells = [value.hex() for value in values.tolist()]
    lines = [", ".join(cells[at : at + 4]) for at in range(0, len(cells), 4)]
    return f"static const double {name}[{length}] = {{\n    " + ",\n    ".join(lines) + ",\n};\n"


def text() -> str:
    t = tables()
    constants = {
        "LN2_UPPER": t.ln2_upper,
        "LN2_LOWER": t.ln2_lower,
        "INVERSE_LN2": t.inverse_ln2,
        "INVERSE_LN2_UPPER": t.inverse_ln2_upper,
        "INVERSE_LN2_LOWER": t.inverse_ln2_lower,
        "EXP_STEPS": t.steps,
        "EXP_STEP_UPPER": t.step_upper,
        "EXP_STEP_LOWER": t.step_lower,
    }
    return "\n".join(
        [
            "/* The constants of function_tables.py, by tests/core/scoring/functions_header.py. */",
            "#ifndef OMENDB_FUNCTION_TABLES_H",
            "#define OMENDB_FUNCTION_TABLES_H",
            "",
            f"#define LOG_ENTRIES {LOG_ENTRIES}",
            f"#define EXP_ENTRIES {EXP_ENTRIES}",
            *(f"#define {name} {value.hex()}" for name, value in constants.items()),
            "",
            table("log_inverse", t.inverse, "LOG_ENTRIES"),
            table("log_upper", t.log_upper, "LOG_ENTRIES"),
            table("log_lower", t.log_lower, "LOG_ENTRIES"),
            table("exp_power", t.power, "EXP_ENTRIES"),
            table("exp_power_rest", t.power_rest, "EXP_ENTRIES"),
            "#endif\n",
        ]
    )


if __name__ == "__main__":
    HEADER.write_text(text())
