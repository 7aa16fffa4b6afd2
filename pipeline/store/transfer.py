"""Results as bytes, on their way between the stores of two machines. Knows folders and files, not what is in them."""

from pathlib import Path

from pipeline.store.files import write_atomically

Packed = dict[str, bytes]
"""The files of a folder, by their name relative to it."""


def packed(folder: Path) -> Packed:
    """Every file below a folder; nothing where there is no folder. Half-written ones are left out."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not (path.name.startswith(".") and path.name.endswith(".tmp"))
    }


def unpack(files: Packed, folder: Path) -> None:
    """Write the files below a folder, each atomically; what else is there stays."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content)
