"""Corpora: find a text, read it, clean it, and turn its characters into ids."""

from charlm.corpus.catalogue import CatalogueEntry, catalogue
from charlm.corpus.cleaning import CLEANINGS, clean
from charlm.corpus.corpus import SPLITS, Corpus, load_corpus
from charlm.corpus.fetch import corpora_folders, fetch, locate
from charlm.corpus.own_texts import add_text, corpus_names
from charlm.corpus.splits import DEFAULT_SPLIT, split_sizes
from charlm.corpus.text import SourceText, read_text
from charlm.corpus.vocabulary import Vocabulary

__all__ = [
    "CLEANINGS",
    "DEFAULT_SPLIT",
    "SPLITS",
    "CatalogueEntry",
    "Corpus",
    "SourceText",
    "Vocabulary",
    "add_text",
    "catalogue",
    "clean",
    "corpora_folders",
    "corpus_names",
    "fetch",
    "load_corpus",
    "locate",
    "read_text",
    "split_sizes",
]
