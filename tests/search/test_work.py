"""The measure of work that the tests of reading use tells a quadratic call from a linear one."""

import pytest
from sqlalchemy import create_engine, text
from work import work_of


@pytest.fixture
def table(tmp_path):
    engine = create_engine(f"sqlite:///{tmp_path / 'table.db'}")

    def fill(rows):
        with engine.begin() as connection:
            connection.execute(text("DROP TABLE IF EXISTS numbers"))
            connection.execute(text("CREATE TABLE numbers (number INTEGER)"))
            connection.execute(text("INSERT INTO numbers VALUES (:n)"), [{"n": n} for n in range(rows)])
        return engine

    yield fill
    engine.dispose()


LOOPS = {
    1: lambda n: [i + 1 for i in range(n)],
    2: lambda n: [i + j for i in range(n) for j in range(n)],
}
QUERIES = {
    1: "SELECT SUM(number) FROM numbers",
    2: "SELECT COUNT(*) FROM numbers AS a, numbers AS b WHERE a.number < b.number",
}


@pytest.mark.parametrize("power", [1, 2])
def test_work_in_python_grows_as_the_call_does(power):
    small, large = (work_of(lambda n=n: LOOPS[power](n)).python for n in (50, 200))
    assert large / small == pytest.approx(4**power, rel=0.2)


@pytest.mark.parametrize("power", [1, 2])
def test_work_in_sql_grows_as_the_statement_does(table, power):
    works = []
    for rows in (100, 400):
        with table(rows).connect() as connection:
            works.append(work_of(lambda connection=connection: connection.scalar(text(QUERIES[power]))))
    assert [work.statements for work in works] == [1, 1]
    assert works[1].sql / works[0].sql == pytest.approx(4**power, rel=0.25)
