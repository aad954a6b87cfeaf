"""The form of a file: how its records are laid out, decided by its first bytes. Its name only helps.

lines      one object per line, with or without a comma after it
elements   the objects of an array, of the arrays in an object, or objects one after another
parquet, arrow, tar, csv
"""

import codecs
import re
from collections.abc import Iterator
from typing import Literal, NamedTuple

from jobs.engine.ingest.faults import FileFault
from jobs.engine.ingest.files.element import TOKEN
from jobs.engine.ingest.files.lines import BOM
from jobs.engine.ingest.files.streams import decompressed
from jobs.engine.ingest.files.wrappers import wraps
from jobs.engine.ingest.records.trees import in_rows

Kind = Literal["lines", "elements", "parquet", "arrow", "tar", "csv"]

SUFFIXES = (".jsonl", ".ndjson", ".json", ".parquet", ".arrow", ".feather", ".csv", ".tsv", ".tar")
COMPRESSED = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2", ".xz": "xz", ".tgz": "gzip"}
MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bz2", b"\xfd7zXZ\0": "xz"}
MAGIC |= {bytes([0x50 + number]) + b"\x2a\x4d\x18": "zstd" for number in range(16)}  # a skippable frame, as of pzstd
DELIMITERS = {".csv": ",", ".tsv": "\t"}
MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before that of UTF-16, with which it begins
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)

HEAD_BYTES = 64 * 1024
EXPANSION = 10_000
TAR_MARK = slice(257, 262)

WEB_PAGE = re.compile(rb"<(?:!doctype\s+html|html|\?xml)", re.IGNORECASE)
MESSAGE = re.compile(rb'\[\s*\{\s*"(?:role|from)"')
LFS_POINTER = b"version https://git-lfs.github.com/spec/"
WORKBOOK = (b"[Content_Types].xml", b"xl/workbook.xml")
OTHERS = {
    b"PK\x03\x04": "a zip archive: unpack it",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive: unpack it",
    b"Rar!\x1a\x07": "a rar archive: unpack it",
    b"SQLite format 3\0": "an SQLite database: write its table as csv or JSON lines",
    b"\x89HDF\r\n": "an HDF5 file: write it as parquet or JSON lines",
    b"Obj\x01": "an Avro file: write it as parquet or JSON lines",
    b"\x93NUMPY": "a file of numpy arrays: write it as parquet or JSON lines",
    b"\x80\x04\x95": "a Python pickle, which is not safe to read: write it as parquet or JSON lines",
    b"\x80\x05\x95": "a Python pickle, which is not safe to read: write it as parquet or JSON lines",
    b"\xd0\xcf\x11\xe0": "an Excel workbook: save the sheet as csv",
    b"%PDF-": "a PDF document",
}
"""Files that cannot be read, by their first bytes, and what to do."""


class Form(NamedTuple):
    """How the records of a file are laid out."""

    kind: Kind
    compression: str | None = None
    encoding: str | None = None
    """The encoding that a mark at the beginning names; None for UTF-8."""
    delimiter: str = ","
    """What is between the fields of a csv file."""
    wrapped: bool = False
    """Whether the head is an object that only wraps arrays of records."""
    trees: bool = False
    """Whether records belong together, as the messages of a tree do, so that one task reads them all."""

    @property
    def splittable(self) -> bool:
        """Whether a reader can begin at any line of the file."""
        return self.kind == "lines" and not (self.compression or self.encoding or self.trees)


def suffix_of(path: str) -> str:
    """Returns the ending of a name by which a file is taken for data, in lower case; empty for other names."""
    name = path.lower()
    for end in ("", *COMPRESSED):
        inner = name.removesuffix(end)
        for suffix in SUFFIXES:
            if (inner != name or not end) and inner.endswith(suffix):
                return suffix + end
    return ".tar.gz" if name.endswith(".tgz") else ""


def form_of(head: bytes, name: str) -> Form | None:
    """Returns the form of a file that begins with these bytes; None where nothing tells it.

    name: the file's path. FileFault for what stands in place of data: a pointer of Git LFS, or a web page.
    """
    suffix = suffix_of(name)
    compression = next((kind for magic, kind in MAGIC.items() if head.startswith(magic)), None)
    if compression:
        return _inner(head, compression, suffix)
    if head[:4] == b"PAR1":
        return Form("parquet")
    if head[:6] == b"ARROW1" or head[:4] == b"\xff\xff\xff\xff":
        return Form("arrow")
    if head[TAR_MARK] == b"ustar":
        return Form("tar")
    for mark, encoding in MARKS:
        if head.startswith(mark):
            text = codecs.getincrementaldecoder(encoding)("replace").decode(head[len(mark) :])
            return _text(text.encode("utf-8", "replace"), suffix)._replace(encoding=encoding)
    _refuse_stand_in(head)
    plain = suffix.partition(".")[2].split(".")[0]
    if head.removeprefix(BOM).lstrip()[:1] in (b"{", b"["):
        return _text(head, suffix)
    binary: dict[str, Kind] = {"parquet": "parquet", "arrow": "arrow", "feather": "arrow", "tar": "tar"}
    if plain in binary:
        return Form(binary[plain])  # whose reader says what is wrong with it
    return _text(head, suffix) if suffix else None


def _inner(head: bytes, compression: str, suffix: str) -> Form | None:
    plain = next((suffix.removesuffix(end) for end in COMPRESSED if suffix.endswith(end)), suffix)
    inner = b""
    try:
        for block in decompressed(iter([head]), compression, EXPANSION):
            inner += block
            if len(inner) >= HEAD_BYTES:
                break
    except FileFault:  # the head is cut short; the reader of the whole file says more
        pass
    found = form_of(inner[:HEAD_BYTES], f"x{plain}") if inner else _text(b"", plain)
    if found and (found.compression or found.kind in ("parquet", "arrow")):
        twice = f"{found.compression or found.kind} inside {compression}: unpack it once"
        raise FileFault("unknown_form", twice)
    return found._replace(compression=compression) if found else None


def _refuse_stand_in(head: bytes) -> None:
    for magic, what in OTHERS.items():
        if head.startswith(magic):
            workbook = magic == b"PK\x03\x04" and any(mark in head for mark in WORKBOOK)
            raise FileFault("unknown_form", "an Excel workbook: save the sheet as csv" if workbook else what)
    begin = head.removeprefix(BOM).lstrip()
    if begin.startswith(LFS_POINTER):
        raise FileFault("not_the_data", "a pointer of Git LFS, not the data: run `git lfs pull` where it was cloned")
    if WEB_PAGE.match(begin):
        title = re.search(rb"<title[^>]*>([^<]{1,200})", begin, re.IGNORECASE)
        said = f", titled {title.group(1).decode('utf-8', 'replace').strip()!r}" if title else ""
        raise FileFault("not_the_data", f"a web page{said}, not the data: the download failed; get the file again")


def _text(head: bytes, suffix: str) -> Form:
    begin = head.removeprefix(BOM).lstrip()
    delimiter = next((delimiter for end, delimiter in DELIMITERS.items() if suffix.startswith(end)), None)
    if delimiter and begin[:1] not in (b"{", b"["):
        return Form("csv", delimiter=_delimiter(begin, delimiter))
    if not begin or begin[:1] not in (b"{", b"["):
        return Form("lines")
    if begin[:1] == b"{" and wraps(begin):
        return Form("elements", wrapped=True)
    kind = "lines" if in_lines(begin, suffix.startswith((".jsonl", ".ndjson"))) else "elements"
    return Form(kind, trees=in_rows(begin))


def _delimiter(head: bytes, usual: str) -> str:
    """Returns what separates the names in the first line: what the file's name says, or what is most often there."""
    line = head.partition(b"\n")[0].decode("utf-8", "replace")
    return usual if usual in line else max("\t,;|", key=line.count)


def in_lines(head: bytes, named: bool) -> bool:
    """Whether a file holds one record per line, judged by its beginning, which is a bracket.

    It does if its first value ends on its line and is not all that an array of records holds. named: whether the name
    says so, which decides where the first line does not end in the head.
    """
    line, end, after = head.partition(b"\n")
    following = after.lstrip()[:1]
    depth = _depth(line)
    if head[:1] == b"[":  # an array of records, or a bare conversation on each line
        alone = named and not following and MESSAGE.match(head)
        return depth == 0 and (following == b"[" or bool(alone))
    if not end and depth > 0:
        return named
    if _several(line):
        return False
    return depth <= 0 or after[:1] == b"{"


def _several(line: bytes) -> bool:
    """Whether a line holds several objects, one after another."""
    depth = 0
    for token in _tokens(line):
        depth += {b"{": 1, b"[": 1, b"}": -1, b"]": -1}.get(token.group(), 0)
        if depth == 0:
            return line[token.end() :].lstrip(b" \t\r,")[:1] == b"{"
    return False


def _depth(line: bytes) -> int:
    return sum({b"{": 1, b"[": 1, b"}": -1, b"]": -1}.get(token.group(), 0) for token in _tokens(line))


def _tokens(line: bytes) -> Iterator[re.Match[bytes]]:
    """Gives the strings and brackets of a line, up to a string that does not end on it: the head may end there."""
    for token in TOKEN.finditer(line):
        if token.group() == b'"':
            return
        yield token


def transcoded(blocks: Iterator[bytes], encoding: str | None) -> Iterator[bytes]:
    """Gives the blocks of a text in another encoding as UTF-8, without its mark. FileFault for broken text."""
    if encoding is None:
        yield from blocks
        return
    decoder = codecs.getincrementaldecoder(encoding)()
    first = True
    try:
        for block in blocks:
            text = decoder.decode(block)
            yield (text.removeprefix("\ufeff") if first and text else text).encode("utf-8", "surrogatepass")
            first = first and not text
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise FileFault("corrupt_file", f"not readable as {encoding}: {error.reason}") from None


def decompressed_text(blocks: Iterator[bytes], form: Form, max_expansion: int) -> Iterator[bytes]:
    """Gives the blocks of a text file, packed or in another encoding, as UTF-8. FileFault for broken ones."""
    return transcoded(decompressed(blocks, form.compression, max_expansion), form.encoding)
