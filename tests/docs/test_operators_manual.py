from pathlib import Path

from meterplex.domain.operators import ROLE_RIGHTS, Right, Role

MANUAL = Path(__file__).parents[2] / "docs" / "operators.md"


def rows() -> list[list[str]]:
    """Return the cells of the table of rights, its head first."""
    lines = MANUAL.read_text("utf-8").splitlines()
    table = [line.strip("|").split("|") for line in lines if line.startswith("| ")]
    return [[cell.strip() for cell in row] for row in table]


def test_manual_says_what_each_role_may_do() -> None:
    head, *body = rows()
    roles = [Role(name) for name in head[2:]]
    assert set(roles) == set(Role)
    told = {
        Right(cells[0]): {role for role, cell in zip(roles, cells[2:], strict=True) if cell == "x"}
        for cells in body
    }
    assert told == {right: {role for role in Role if right in ROLE_RIGHTS[role]} for right in Right}
