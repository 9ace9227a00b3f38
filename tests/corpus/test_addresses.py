from __future__ import annotations

import pytest

from charlm.corpus import catalogue
from charlm.corpus.addresses import check_is_no_address
from charlm.errors import CorpusError


def refusal(address: str) -> CorpusError:
    with pytest.raises(CorpusError) as caught:
        check_is_no_address(address)
    assert repr(address) in caught.value.message
    return caught.value


@pytest.mark.parametrize(
    ("address", "hint"),
    [
        (
            "https://www.gutenberg.org/files/11/11-0.txt",
            "download it first: curl -L -o 11-0.txt https://www.gutenberg.org/files/11/11-0.txt; "
            "then name the file 11-0.txt",
        ),
        ("HTTP://X.org/my%20book.txt?a=1&b=2#end", "-o my-book.txt 'http://X.org/my%20book.txt?"),
        ("https://example.org", "curl -L -o text.txt https://example.org;"),
        # The page about a book or a file is not the book or the file.
        ("gutenberg.org/ebooks/11", "curl -L -o pg11.txt https://www.gutenberg.org/cache/epub/11/"),
        ("https://www.gutenberg.org/ebooks/11.txt.utf-8", "https://www.gutenberg.org/cache/epub/"),
        (
            "https://github.com/ann/poems/blob/main/all.txt",
            "curl -L -o all.txt https://raw.githubusercontent.com/ann/poems/main/all.txt",
        ),
        ("github.com/ann/poems", "git clone https://github.com/ann/poems; then"),
        ("https://github.com/ann/poems.git", "git clone https://github.com/ann/poems; then"),
        ("git@github.com:ann/poems.git", "git clone https://github.com/ann/poems; then"),
        ("s3://bucket/a.txt", "download it first; then name the file"),
        ("file:///home/ann/my%20book.txt", "name the file: /home/ann/my book.txt"),
        ("file:///C:/books/a.txt", "name the file: C:/books/a.txt"),
        (
            "https://github.com/karpathy/char-rnn/blob/master/data/tinyshakespeare/input.txt",
            "give the name tinyshakespeare",
        ),
    ],
)
def test_addresses(address, hint):
    assert hint in refusal(address).hint


def test_an_address_of_the_catalogue_is_named():
    for name, entry in catalogue().items():
        for file in entry.downloads:
            assert f"give the name {name}" in refusal(file.address).hint


@pytest.mark.parametrize(
    "path",
    ["C:/book.txt", "C:\\book.txt", "book.com.txt", "./github.com/a", "/www.a/b", "~/a.org/b", "-"],
)
def test_paths_are_not_addresses(path):
    check_is_no_address(path)


def test_a_file_that_exists_is_not_an_address(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "www.novel.txt").write_text("text")
    check_is_no_address("www.novel.txt")
