"""Damage to HDF5 files, by what is in them."""

import contextlib

import h5py
import numpy as np

from damage.hostile import HERE, NUMBERS, REALS, Impracticable, act


def inside(file, of):
    found = []
    file.visititems(lambda name, item: found.append(name) if isinstance(item, of) else None)
    return found


def likely(names, rng):
    """One of them, most often what makes up a matrix."""
    core = [n for n in names if n.split("/")[0] in ("X", "matrix", "hg19", "layers")]
    return rng.choice(core if core and rng.random() < 0.75 else names)


@contextlib.contextmanager
def opened(path):
    try:
        with h5py.File(path, "r+") as file:
            yield file
    except (OSError, RuntimeError, ValueError, TypeError) as error:
        raise Impracticable from error


def removed(file, name):
    """Take a member out of a file, and return its attributes."""
    attributes = dict(file[name].attrs)
    del file[name]
    return attributes


@act(".h5", ".h5ad")
def values_changed(path, rng):
    """A number among those that are stored, most often of indices and pointers."""
    with opened(path) as file:
        names = [n for n in inside(file, h5py.Dataset) if file[n].dtype.kind in "iuf"]
        name = likely(names, rng)
        values = file[name][()]
        if values.ndim == 0 or not values.size:
            raise Impracticable
        number = rng.choice(REALS if rng.random() < 0.2 else NUMBERS)
        wide = values.astype(float if isinstance(number, float) else np.int64)
        at = rng.choice((0, values.size - 1, rng.randrange(values.size)))
        if not isinstance(number, float) and not -(2**63) <= number < 2**63:
            raise Impracticable
        wide.ravel()[at] = number
        attributes = removed(file, name)
        file[name] = wide
        file[name].attrs.update(attributes)
        return f"{name}[{at}] = {number}"


@act(".h5", ".h5ad")
def set_replaced(path, rng):
    with opened(path) as file:
        name = likely(inside(file, h5py.Dataset), rng)
        values = file[name][()]
        how = {
            "deleted": None,
            "a group": "group",
            "a number": 3,
            "two axes": np.zeros((3, 2)),
            "nothing": h5py.Empty("f8"),
            "no values": values[:0] if np.ndim(values) else 0,
            "half": values[: len(values) // 2] if np.ndim(values) else 1,
            "twice": np.concatenate([values, values]) if np.ndim(values) else 1,
            "text": np.array([b"\xff\xfe", b"a"] * 4, "S"),
            "records": np.zeros(9, [("a", "i4"), ("b", "S3")]),
            "complex": np.zeros(9, complex),
            "opaque": np.zeros(9, "V7"),
            "floats": np.linspace(0, 3, 9),
            "references": "references",
        }
        said = rng.choice(sorted(how))
        attributes = removed(file, name)
        if said == "a group":
            file.create_group(name)
        elif said == "references":
            file.create_dataset(name, (9,), dtype=h5py.ref_dtype)
        elif said != "deleted":
            file[name] = how[said]
            if said != "nothing":
                file[name].attrs.update(attributes)
        return f"{name}: {said}"


@act(".h5", ".h5ad")
def set_huge(path, rng):
    with opened(path) as file:
        name = likely(inside(file, h5py.Dataset), rng)
        kind, axes = file[name].dtype, max(1, len(file[name].shape))
        shape = rng.choice(((10**13,), (2**62,), (10**9,), (10**8,)))[:1] * 1 + (1,) * (axes - 1)
        attributes = removed(file, name)
        chunks = (1024, *(1 for _ in range(axes - 1)))
        file.create_dataset(name, shape, dtype=kind, chunks=chunks, compression="gzip")
        file[name].attrs.update(attributes)
        return f"{name}: {shape}"


@act(".h5", ".h5ad")
def group_changed(path, rng):
    with opened(path) as file:
        name = likely(inside(file, h5py.Group), rng)
        how = rng.choice(("deleted", "values", "a link to itself", "an empty one"))
        del file[name]
        if how == "values":
            file[name] = np.arange(5)
        elif how == "a link to itself":
            file[name] = h5py.SoftLink(f"/{name}")
        elif how == "an empty one":
            file.create_group(name)
        return f"{name}: {how}"


@act(".h5", ".h5ad")
def attribute_changed(path, rng):
    with opened(path) as file:
        named = [n for n in inside(file, h5py.HLObject) if len(file[n].attrs)]
        if not named:
            raise Impracticable
        item = file[likely(named, rng)]
        name = rng.choice(sorted(item.attrs))
        value = rng.choice((None, 3, -1, "csc_matrix", "", "nobody", [2**62, 2**62], [1], b"\xff"))
        value = rng.choice((value, [30, 2], [8, 30], [-30, 8], [30.5, 8.0], h5py.Empty("f8")))
        del item.attrs[name]
        if value is not None:
            item.attrs[name] = value
        return f"{item.name}@{name}: {value}"


@act(".h5", ".h5ad", certain=True)
def taken_from_elsewhere(path, rng):
    with opened(path) as file:
        name = likely(inside(file, h5py.Dataset), rng)
        item, secret = file[name], HERE[0] / "secret"
        shape, kind = item.shape or (9,), item.dtype if item.dtype.kind in "iuf" else "u1"
        how = rng.choice(("external storage", "external link", "virtual"))
        attributes = removed(file, name)
        if how == "external link":
            file[name] = h5py.ExternalLink(str(secret.with_name("other.h5")), "x")
        elif how == "virtual":
            layout = h5py.VirtualLayout(shape, kind)
            layout[:] = h5py.VirtualSource(str(secret.with_name("other.h5")), "x", shape)
            file.create_virtual_dataset(name, layout)
        else:
            size = int(np.prod(shape)) * np.dtype(kind).itemsize
            file.create_dataset(name, shape, kind, external=[(str(secret), 0, size)])
        if how != "external link":
            file[name].attrs.update({k: v for k, v in attributes.items() if k != "dummy"})
        return f"{name}: {how}"


@act(".h5", ".h5ad")
def groups_nested(path, rng):
    with opened(path) as file:
        parent = file[likely(inside(file, h5py.Group), rng)]
        for _ in range(rng.choice((50, 1500))):
            parent = parent.create_group("g")
        file["loop"] = file["/"]
