import pandas as pd
import pytest

from markovbridge.data import CountTable


def batches(folder, obs, names=(1, 2, 3), **fields):
    text = "".join(f"{name},{k},{k + 1}\n" for k, name in enumerate(names))
    (folder / "t.csv").write_text(f",a,b\n{text}")
    if isinstance(obs, str):
        (folder / "o.csv").write_text(obs)
    else:
        obs.to_parquet(folder / "o.parquet")
    path = folder / ("o.csv" if isinstance(obs, str) else "o.parquet")
    source = CountTable(folder / "t.csv", obs=path, covariates=("batch",), **fields)
    return source.load("all").columns["batch"]


@pytest.mark.parametrize("names", [(1, 2, 3), ("001", "002", "003")])
def test_numbers_as_names_are_matched_or_refused(tmp_path, names):
    one, two, three = names
    given = f"id,batch\n{three},w\n{one},u\n{two},v\n"
    assert batches(tmp_path, given, names) == ["u", "v", "w"]
    message = rf"no row for sample '{two}' .*nor for 0 others.*by their names in column 'id'"
    with pytest.raises(ValueError, match=message):
        batches(tmp_path, given.replace(f"{two},v", "9,v"), names)


def test_names_may_be_in_any_column(tmp_path):
    later = "batch,id\nu,c2\nv,c1\n"
    assert batches(tmp_path, later, ("c1", "c2")) == ["v", "u"]
    assert batches(tmp_path, "batch,id\nu,02\nv,01\n", ("01", "02")) == ["v", "u"]
    with pytest.raises(ValueError, match=r"no row for sample 'c3' .* column 'id'"):
        batches(tmp_path, later, ("c3", "c1"))
    unique = "cluster,batch,id\n1,u,2\n1,v,1\n2,w,0\n"
    assert batches(tmp_path, unique, (1, 2)) == ["v", "u"]
    with pytest.raises(ValueError, match="has the row 'c1' twice"):
        batches(tmp_path, "batch,id\nu,c1\nv,c1\nw,c2\n", ("c1", "c2"))


def test_names_in_parquet(tmp_path):
    frame = pd.DataFrame({"batch": list("wuv"), "id": [3, 1, 2]})
    for obs in (frame, frame.astype({"id": float}), frame.set_index("id")):
        assert batches(tmp_path, obs) == ["u", "v", "w"]
    with pytest.raises(ValueError, match=r"no row for sample '4' .*by their names$"):
        batches(tmp_path, frame.set_index("id"), (1, 2, 4))


def test_rows_in_order_are_told_of(tmp_path):
    with pytest.warns(UserWarning, match=r"o.csv names no sample of .*t.csv.*in their order"):
        assert batches(tmp_path, "batch,age\nu,30\nv,40\nw,50\n") == ["u", "v", "w"]
    with pytest.raises(ValueError, match="no row for sample '1' .* nor for 2 others"):
        batches(tmp_path, "cell,batch\nx,u\ny,v\nz,w\n")
