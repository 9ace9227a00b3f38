from __future__ import annotations

import csv
import dataclasses
import gzip
import hashlib
import io
import json
import tarfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from charlm.corpus import catalogue
from charlm.errors import CorpusError, UsageError, counted
from charlm.tasks.classification.labelled_texts import LabelledTexts, load_labelled

Samples = list[tuple[str | None, str, str]]  # split, label, text

TWO = [(None, "neg", 'bad, "very" bad\n'), (None, "pos", "good\tindeed")]
SPLIT = [
    ("test", "neg", "worse"),
    ("test", "pos", "better"),
    ("train", "neg", "bad"),
    ("train", "neg", "sad"),
    ("train", "pos", "good"),
    ("valid", "pos", "glad"),
]  # in the order of their paths


# The same samples in each kind of source


def files(samples: Samples) -> dict[str, str]:
    """Texts by path; the order of the paths within a label is that of the samples."""
    return {
        "/".join(filter(None, (split, label, f"{number:04}.txt"))): text
        for number, (split, label, text) in enumerate(samples)
    }


def in_path_order(samples: Samples) -> Samples:
    paths = dict(zip(files(samples), samples, strict=True))
    return [paths[path] for path in sorted(paths)]


def folder(root: Path, samples: Samples) -> Path:
    for path, text in files(samples).items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(text.encode())
    return root


def archive(path: Path, samples: Samples, below: str = "data/", form: int = tarfile.GNU_FORMAT):
    mode = "w" if path.suffix.lower() == ".tar" else "w:gz"
    with tarfile.open(path, mode, format=form) as tar:
        # Not in the order of the paths.
        for name, text in reversed(files(samples).items()):
            member = tarfile.TarInfo(below + name)
            member.size = len(text.encode())
            tar.addfile(member, io.BytesIO(text.encode()))
    return path


def written(path: Path, text: str) -> Path:
    raw = text.encode()
    path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)
    return path


def table(path: Path, samples: Samples, columns: tuple[str, str, str] = ("split", "text", "label")):
    out = io.StringIO(newline="")
    writer = csv.writer(out, "excel-tab" if ".tsv" in path.name.lower() else "excel")
    kept = slice(0, 3) if any(split for split, *_ in samples) else slice(1, 3)
    names = dict(zip(("split", "label", "text"), columns, strict=True))
    rows = [
        {"split": split, "label": label, "text": text, "id": number}
        for number, (split, label, text) in enumerate(samples)
    ]
    order = ["id", *["split", "label", "text"][kept]]
    writer.writerow([names.get(key, key) for key in order])
    writer.writerows([[row[key] for key in order] for row in rows])
    return written(path, out.getvalue())


def json_lines(path: Path, samples: Samples, ensure_ascii: bool = False) -> Path:
    objects = [
        {"text": text, "label": label} | ({"split": split} if split else {})
        for split, label, text in samples
    ]
    lines = "\n".join(json.dumps(line, ensure_ascii=ensure_ascii) for line in objects)
    return written(path, lines)


def json_list(path: Path, samples: Samples) -> Path:
    lines = json_lines(path, samples).read_text("utf-8")
    return written(path, "[" + lines.replace("}\n{", "},\n{") + "]\n")


def pairs(found: LabelledTexts, split: str) -> list[tuple[str, str]]:
    return [(found.labels[label], text) for text, label in found.splits[split]]


# The layouts


def test_folder_with_splits(tmp_path):
    found = load_labelled(str(folder(tmp_path / "my reviews", SPLIT)))
    assert found.name == "my-reviews"
    assert found.source == str(tmp_path / "my reviews")
    assert found.labels == ("neg", "pos")
    assert found.splits == {
        "train": (("bad", 0), ("sad", 0), ("good", 1)),
        "valid": (("glad", 1),),
        "test": (("worse", 0), ("better", 1)),
    }
    assert found.splits["train"][0].text == "bad"
    assert found.notices == (f"read 6 files of {tmp_path / 'my reviews'}, skipped 0",)


def test_sha256_is_of_labels_and_texts_in_order(tmp_path):
    order = sorted(SPLIT, key=lambda sample: ("train", "valid", "test").index(str(sample[0])))
    expected = hashlib.sha256()
    for _, label, text in order:
        expected.update(f"{len(label)} {len(text)}\n{label}{text}".encode())
    assert load_labelled(str(folder(tmp_path / "a", SPLIT))).sha256 == expected.hexdigest()
    renamed = folder(tmp_path / "b", SPLIT)
    for file in sorted(renamed.rglob("*.txt")):
        file.rename(file.with_name("x" + file.name))
    assert load_labelled(str(renamed)).sha256 == expected.hexdigest()
    (tmp_path / "a" / "train" / "neg" / "0002.txt").write_text("Bad")
    assert load_labelled(str(tmp_path / "a")).sha256 != expected.hexdigest()


@pytest.mark.parametrize("below", ["", "aclImdb"])
def test_original_layout_of_imdb(tmp_path, below):
    root = folder(tmp_path / "data" / below, SPLIT)
    for stray in ("README", "imdbEr.txt", "train/urls_pos.txt", "train/labeledBow.feat"):
        (root / stray).write_text("http://example.org/\n")
    (root / "train" / "unsup").mkdir()
    for number in range(3):
        (root / "train" / "unsup" / f"{number}_0.txt").write_text("perhaps")
    (root / "train" / "pos" / ".hidden.txt").write_text("hidden")
    with tarfile.open(tmp_path / "data.tar.gz", "w:gz") as tar:
        tar.add(root, "aclImdb")
    told = []
    for source in (tmp_path / "data", tmp_path / "data.tar.gz"):
        found = load_labelled(str(source))
        assert (found.labels, len(found.splits["train"])) == (("neg", "pos"), 3)
        told.append([notice.replace(str(source), "SOURCE") for notice in found.notices])
    assert told[0] == told[1]
    assert told[0] == [
        "read 6 files of SOURCE, skipped 5",
        "skipped 3 files without a label, in unsup",
    ]


def test_folder_without_splits(tmp_path):
    root = folder(tmp_path / "data", TWO * 20)
    (root / "notes").mkdir()
    (root / "notes" / "about.md").write_text("all of it\n")
    for source in (root, tmp_path):  # itself, and from above
        found = load_labelled(str(source), valid=0.25, test=0.5)
        assert {name: len(texts) for name, texts in found.splits.items()} == {
            "train": 14,
            "valid": 6,
            "test": 20,
        }
        assert found.notices[1:] == (
            f"held out 20 texts for test: {source} has no test split",
            f"held out 6 texts for valid: {source} has no valid split",
        )


def test_any_labels_and_other_names_of_splits(tmp_path):
    samples = [("Training", "3 stars", "a"), ("Training", "新闻", "b"), ("dev", "3 stars", "c")]
    found = load_labelled(str(folder(tmp_path / "data", samples)))
    assert found.labels == ("3 stars", "新闻")
    assert pairs(found, "valid") == [("3 stars", "c")]


def test_linked_files_are_read_and_linked_folders_not(tmp_path):
    root = folder(tmp_path / "data", TWO)
    other = folder(tmp_path / "other", [(None, "neg", "elsewhere")])
    (root / "pos" / "link.txt").symlink_to(other / "neg" / "0000.txt")
    (root / "linked").symlink_to(other / "neg", target_is_directory=True)
    found = load_labelled(str(root), test=0, valid=0)
    assert pairs(found, "train")[1:] == [("pos", "good\tindeed"), ("pos", "elsewhere")]


LINES = {"neg.txt": "bad\n\nsad, so sad", "pos.txt": "\ufeffgood\r\nfine\n"}


@pytest.mark.parametrize("below", ["", "names/"])
@pytest.mark.parametrize("splits", [("",), ("train/", "test/")])
@pytest.mark.parametrize("packed", [False, True], ids=["folder", "archive"])
def test_file_for_each_label_with_a_text_on_each_line(tmp_path, below, splits, packed):
    source = tmp_path / "data"
    for split in splits:
        for name, text in LINES.items():
            put(source / below / split / name, text)
    put(source / below / "README.txt", "about it\n")
    put(source / below / splits[0] / "unsup.txt", "perhaps\n")
    if packed:
        source = tmp_path / "data.tar.gz"
        with tarfile.open(source, "w:gz") as tar:
            tar.add(tmp_path / "data", ".")
    found = load_labelled(str(source), test=0, valid=0)
    expected = [("neg", "bad"), ("neg", "sad, so sad"), ("pos", "good"), ("pos", "fine")]
    assert pairs(found, "train") == expected
    assert pairs(found, "test") == (expected if len(splits) > 1 else [])
    assert found.notices[:2] == (
        f"read {2 * len(splits)} files of {source}, skipped 2; each line is a text, its label is "
        "the file's name",
        f"skipped {counted(len(splits), 'empty text')}",
    )


def test_place_of_a_line_in_a_message(tmp_path):
    put(tmp_path / "neg.txt", "bad\n")
    put(tmp_path / "pos.txt", b"good\nfine \xff\n")
    with pytest.raises(CorpusError, match=r"'pos.txt' in .* is not UTF-8: .* line 2"):
        load_labelled(str(tmp_path))
    (tmp_path / "pos.txt").unlink()
    put(tmp_path / f"{'x' * 101}.txt", "a\n")
    with pytest.raises(CorpusError, match=r"xxx.txt' in .*, line 1: .* is not a valid label"):
        load_labelled(str(tmp_path))
    with pytest.raises(CorpusError, match="no labelled text in"):  # one file is not a layout
        load_labelled(str(put(tmp_path / "one" / "a.txt", "a\n").parent))


def put(path: Path, text: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_several_sets_of_texts_are_refused(tmp_path):
    for name in ("a", "b"):
        folder(tmp_path / name, SPLIT)
    with pytest.raises(CorpusError, match="holds 2 sets of labelled texts: 'a', 'b'"):
        load_labelled(str(tmp_path))


# Archives


@pytest.mark.parametrize("name", ["data.tar.gz", "data.tgz", "DATA.TAR"])
@pytest.mark.parametrize("below", ["data/", "./data/", ""])
def test_archive_is_its_folder(tmp_path, name, below):
    there = load_labelled(str(folder(tmp_path / "folder", SPLIT)))
    found = load_labelled(str(archive(tmp_path / name, SPLIT, below)))
    assert (found.splits, found.labels, found.sha256) == (there.splits, there.labels, there.sha256)
    assert found.name.lower() == "data"


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("label", ["ordinary", "l" * 90, "新" * 30, "é" * 3])
def test_archive_with_long_and_foreign_names(tmp_path, form, label):
    samples = [("train", label, "x"), ("train", "other", "y"), ("test", label, "z")]
    below = "d" * 60 + "/"  # too long for the field of the name
    path = archive(tmp_path / "a.tar", samples, below, form)
    found = load_labelled(str(path))
    assert found.labels == tuple(sorted((label, "other")))
    assert pairs(found, "test") == [(label, "z")]


def test_last_of_several_members_with_one_name_counts(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name, text in [("neg/a.txt", "old"), ("pos/a.txt", "good"), ("neg/a.txt", "newer")]:
            member = tarfile.TarInfo(name)
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text.encode()))
    found = load_labelled(str(tmp_path / "a.tar"), test=0, valid=0)
    assert pairs(found, "train") == [("neg", "newer"), ("pos", "good")]


# Tables


HEADERLESS = "5,a,the best film,en\n1,b,the worst film,en\n5,c,good,en\n1,d,bad,en\n"


def test_csv_without_a_header(tmp_path):
    path = written(tmp_path / "a.csv", HEADERLESS)
    found = load_labelled(str(path), test=0, valid=0)
    assert pairs(found, "train")[:2] == [("5", "the best film"), ("1", "the worst film")]
    assert found.notices[0] == (
        f"texts are column '3' and labels '1' of {path}; its first row was taken for a text (if "
        "not: --header yes)"
    )
    named = load_labelled(str(path), test=0, valid=0, text_column="2", label_column="1")
    assert pairs(named, "train")[:2] == [("5", "a"), ("1", "b")]
    with pytest.raises(CorpusError, match="no column '7' in"):
        load_labelled(str(path), text_column="7")


def test_what_is_said_of_the_first_row_of_csv(tmp_path):
    two = written(tmp_path / "two.csv", "the best film,5\nthe worst film,1\n")
    with pytest.raises(CorpusError, match="its first row was taken for a header") as caught:
        load_labelled(str(two))
    assert caught.value.hint.endswith("or give --header no if the first row is an example")
    found = load_labelled(str(two), header="no", test=0, valid=0)
    assert pairs(found, "train") == [("5", "the best film"), ("1", "the worst film")]
    with pytest.raises(CorpusError, match=r"no column of texts in .*, comment\n"):
        load_labelled(str(written(tmp_path / "a.csv", HEADERLESS)), header="yes")
    with pytest.raises(UsageError, match="is not a table"):
        load_labelled(str(folder(tmp_path / "folder", TWO)), header="no")


def test_folder_of_tables(tmp_path):
    for split in ("train", "test"):
        table(tmp_path / f"{split}.csv", TWO, ("split", "label", "text"))
    put(tmp_path / "pos" / "a.txt", "not read")
    found = load_labelled(str(tmp_path), valid=0)
    assert pairs(found, "train") == pairs(found, "test") == [
        (label, text) for _, label, text in TWO
    ]  # fmt: skip


def test_parquet_of_a_data_set(tmp_path):
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    names = {"info": {"features": {"label": {"names": ["neg", "pos"], "_type": "ClassLabel"}}}}
    columns = pyarrow.table({"text": ["good", "bad", "fine"], "label": [1, 0, 1]})
    columns = columns.replace_schema_metadata({"huggingface": json.dumps(names)})
    for part in range(2):
        parquet.write_table(columns, tmp_path / f"train-0000{part}-of-00002.parquet")
    found = load_labelled(str(tmp_path), test=0, valid=0)
    assert pairs(found, "train") == [("pos", "good"), ("neg", "bad"), ("pos", "fine")] * 2
    (tmp_path / "b.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(CorpusError, match="is not a parquet file"):
        load_labelled(str(tmp_path / "b.parquet"))


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.csv.gz", "a.TSV"])
def test_csv(tmp_path, name):
    path = tmp_path / name
    table(path, SPLIT, ("Split", "Sentiment", " Review "))
    found = load_labelled(str(path))
    assert found.name == "a"
    assert pairs(found, "train") == [("neg", "bad"), ("neg", "sad"), ("pos", "good")]
    assert found.notices == (
        f"texts are column ' Review ' and labels 'Sentiment' of {path}; "
        "its first row was taken for a header (if not: --header no)",
    )


@pytest.mark.parametrize("name", ["a.jsonl", "a.ndjson", "a.jsonl.gz"])
def test_json_lines(tmp_path, name):
    found = load_labelled(str(json_lines(tmp_path / name, SPLIT)))
    assert found.name == "a"
    assert pairs(found, "valid") == [("pos", "glad")]


def test_labels_of_json_lines(tmp_path):
    values = ["1", " a ", 2, True, False, 4.0, -3]
    lines = [json.dumps({"text": "x", "label": value}) for value in values]
    path = written(tmp_path / "a.jsonl", "\r\n".join([*lines[:3], "", *lines[3:], " ", ""]))
    found = load_labelled(str(path))
    assert found.labels == ("-3", "1", "2", "4.0", "a", "false", "true")


@pytest.mark.parametrize(
    ("content", "columns"),
    [
        ("label,text,note,grade\n1,a,y,0\n1,c,z,1\n", {"text": "note", "label": "grade"}),
        ("content,text,stars,label\na,y,1,0\nc,z,2,1\n", {}),  # text before content
        ("\ufeff\r\ntext;label\r\ny;0\r\n\r\nz;1\r\n", {}),
    ],
)
def test_columns(tmp_path, content, columns):
    path = written(tmp_path / "a.csv", content)
    options = {f"{name}_column": column for name, column in columns.items()}
    found = load_labelled(str(path), **options, test=0, valid=0)
    assert pairs(found, "train") == [("0", "y"), ("1", "z")]


def test_tabs_without_quoting(tmp_path):
    text = 'sentence\tlabel\n"Well" he said\t1\nfive 5" discs\t0\n"open\t1\n'
    path = written(tmp_path / "a.tsv", text)
    found = load_labelled(str(path), test=0, valid=0)
    assert pairs(found, "train") == [
        ("1", '"Well" he said'),
        ("0", 'five 5" discs'),
        ("1", '"open'),
    ]
    assert "is not quoted as CSV" in found.notices[0]


def test_texts_keep_all_but_marks_and_line_ends(tmp_path):
    text = '  <br />Ünï\u2028\x1c ,\t"x"\v\u3000'
    samples = [(None, "neg", "\ufeff" + text + "\r\n\r"), (None, "pos", text), (None, "pos", " ")]
    sources = [
        folder(tmp_path / "folder", samples),
        archive(tmp_path / "a.tar.gz", samples),
        table(tmp_path / "a.csv", samples, ("split", "label", "text")),
        json_lines(tmp_path / "a.jsonl", samples),
    ]
    for source in sources:
        found = load_labelled(str(source), test=0, valid=0)
        assert pairs(found, "train") == [("neg", text + "\n\n"), ("pos", text), ("pos", " ")]
        assert "changed line ends to \\n or removed a byte order mark in 1 text" in found.notices


def test_another_encoding(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes("text,label\n分开,一\n合,二\n".encode("gb18030"))
    found = load_labelled(str(path), encoding="gb18030", test=0, valid=0)
    assert pairs(found, "train") == [("一", "分开"), ("二", "合")]
    with pytest.raises(CorpusError, match="is not UTF-8"):
        load_labelled(str(path))


def test_empty_texts_are_skipped(tmp_path):
    samples = [*TWO, (None, "neg", ""), (None, "pos", "\ufeff")]
    found = load_labelled(str(folder(tmp_path / "data", samples)), test=0, valid=0)
    assert len(found.splits["train"]) == 2
    assert "skipped 2 empty texts" in found.notices


def test_label_without_train_texts_is_noticed(tmp_path):
    found = load_labelled(str(folder(tmp_path / "data", [*SPLIT, ("test", "mixed", "so so")])))
    assert found.labels == ("mixed", "neg", "pos")
    assert "1 label without a text to train on, such as 'mixed'" in found.notices


# All kinds of source agree

TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40),
    st.text(st.sampled_from("ab,;\t\"'\\ \r\n\ufeff\u2028\x1c{}"), max_size=20),
)
LABELS = st.sampled_from(["neg", "pos", "pos 2", "新"])
SPLITS_OR_NONE = st.one_of(
    st.lists(st.tuples(st.just(None), LABELS, TEXTS), max_size=12),
    st.lists(st.tuples(st.sampled_from(["train", "valid", "test"]), LABELS, TEXTS), max_size=12),
)


def expected_text(text: str) -> str:
    return text.lstrip("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(drawn=SPLITS_OR_NONE, fractions=st.tuples(*[st.sampled_from([0.0, 0.1, 0.5, 0.9])] * 2))
def test_any_samples_through_any_kind_of_source(tmp_path_factory, drawn, fractions):
    split = "train" if drawn and drawn[0][0] else None
    samples = in_path_order([*drawn, (split, "neg", "bad"), (split, "pos", "good")])
    base = tmp_path_factory.mktemp("sources")
    sources = [
        folder(base / "folder", samples),
        archive(base / "a.tar.gz", samples),
        archive(base / "a.tar", samples, "./", tarfile.PAX_FORMAT),
        table(base / "a.csv", samples, ("split", "label", "text")),
        table(base / "a.tsv.gz", samples, ("split", "label", "text")),
        json_lines(base / "a.jsonl", samples),
        json_lines(base / "b.jsonl.gz", samples, ensure_ascii=True),
        json_list(base / "a.json", samples),
    ]
    first, *others = [
        load_labelled(str(source), test=fractions[0], valid=fractions[1]) for source in sources
    ]
    for other in others:
        assert (other.labels, other.sha256) == (first.labels, first.sha256)
        assert other.splits == first.splits
    expected = [(split, label, expected_text(text)) for split, label, text in samples]
    expected = [sample for sample in expected if sample[2]]
    assert first.labels == tuple(sorted({label for _, label, _ in expected}))
    everything = [pair for name in first.splits for pair in pairs(first, name)]
    assert Counter(everything) == Counter((label, text) for _, label, text in expected)
    for name in {split for split, *_ in samples} - {"train", None}:
        assert pairs(first, name) == [(label, text) for s, label, text in expected if s == name]


# Held-out texts


def numbered(count: int, label: str = "pos") -> Samples:
    return [(None, label, f"{label} {number}") for number in range(count)]


def test_held_out_in_proportion_and_never_all_of_a_label(tmp_path):
    samples = numbered(1000) + numbered(50, "neg") + numbered(4, "few") + numbered(1, "one")
    found = load_labelled(str(json_lines(tmp_path / "a.jsonl", samples)), test=0.2, valid=0.1)
    counts = {name: Counter(label for label, _ in pairs(found, name)) for name in found.splits}
    assert counts == {
        "train": {"pos": 720, "neg": 36, "few": 3, "one": 1},
        "valid": {"pos": 80, "neg": 4},
        "test": {"pos": 200, "neg": 10, "few": 1},
    }
    most = load_labelled(str(tmp_path / "a.jsonl"), test=0.999, valid=0.999)
    assert Counter(label for label, _ in pairs(most, "train")) == dict.fromkeys(
        ("pos", "neg", "few", "one"), 1
    )
    assert most.sha256 == found.sha256


def test_held_out_are_the_same_texts_everywhere(tmp_path):
    """Results depend on the draw, so it must not change."""
    path = json_lines(tmp_path / "a.jsonl", numbered(12) + numbered(12, "neg"))
    found = load_labelled(str(path), test=0.25, valid=0.25)
    # By sha256sum of "charlm: held out\n" and the text: the first three of each label, then two.
    test, valid = ([text for text, _ in found.splits[name]] for name in ("test", "valid"))
    assert test == ["pos 6", "pos 7", "pos 8", "neg 1", "neg 7", "neg 10"]
    assert valid == ["pos 0", "pos 4", "neg 4", "neg 9"]


def test_held_out_does_not_depend_on_the_order_of_the_source(tmp_path):
    samples = numbered(40) + numbered(40, "neg")
    forwards = load_labelled(str(json_lines(tmp_path / "a.jsonl", samples)))
    backwards = load_labelled(str(json_lines(tmp_path / "b.jsonl", samples[::-1])))
    for name in ("train", "valid", "test"):
        assert backwards.splits[name] == forwards.splits[name][::-1]


def test_only_missing_splits_are_held_out(tmp_path):
    samples = [("train", label, f"{label} {n}") for label in ("neg", "pos") for n in range(20)]
    found = load_labelled(
        str(folder(tmp_path / "a", [*samples, ("test", "pos", "the test")])), valid=0.5, test=0.5
    )
    assert pairs(found, "test") == [("pos", "the test")]
    assert (len(found.splits["train"]), len(found.splits["valid"])) == (20, 20)
    nothing = load_labelled(str(tmp_path / "a"), valid=0)
    assert (len(nothing.splits["train"]), nothing.splits["valid"]) == (40, ())


@pytest.mark.parametrize("fraction", [-0.1, 1.0, float("nan"), float("inf")])
def test_fractions_out_of_range(tmp_path, fraction):
    for name in ("valid", "test"):
        with pytest.raises(UsageError, match=f"{name} must be at least 0 and below 1"):
            load_labelled(str(tmp_path), **{name: fraction})


# The catalogue


def test_catalogued_archive(tmp_path, monkeypatch):
    entry = catalogue()["imdb"]
    path = archive(tmp_path / entry.file, SPLIT, "aclImdb/")
    raw = path.read_bytes()
    changed = {"sha256": hashlib.sha256(raw).hexdigest(), "size": len(raw)}
    monkeypatch.setitem(catalogue(), "imdb", dataclasses.replace(entry, **changed))
    found = load_labelled("imdb", corpora_dir=tmp_path)
    assert (found.name, found.source) == ("imdb", str(path))
    assert len(found.splits["test"]) == 2


# The real archive


def test_real_archive(real_corpus):
    found = load_labelled(str(real_corpus("aclImdb.tar.gz")))
    assert found.labels == ("neg", "pos")
    assert {name: len(texts) for name, texts in found.splits.items()} == {
        "train": 22_500,
        "valid": 2_500,
        "test": 25_000,
    }
    counts = {name: Counter(label for _, label in found.splits[name]) for name in found.splits}
    assert counts == {
        "train": {0: 11_250, 1: 11_250},
        "valid": {0: 1_250, 1: 1_250},
        "test": {0: 12_500, 1: 12_500},
    }
    # aclImdb/test/neg/0_2.txt
    assert found.splits["test"][0].text.startswith("Once again Mr. Costner has dragged out a movie")
