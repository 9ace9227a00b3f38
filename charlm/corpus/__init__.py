"""Corpora: find and read texts, and encode them as ids."""

from charlm.corpus.added_texts import add_text, corpus_names
from charlm.corpus.catalogue import CatalogueEntry, catalogue
from charlm.corpus.cleaning import CLEANINGS, clean
from charlm.corpus.fetch import fetch, locate
from charlm.corpus.splits import SPLITS, split_sizes
from charlm.corpus.text import read_text
from charlm.corpus.vocabulary import Vocabulary
from charlm.corpus.words import WordVocabulary

__all__ = [
    "CLEANINGS",
    "SPLITS",
    "CatalogueEntry",
    "Vocabulary",
    "WordVocabulary",
    "add_text",
    "catalogue",
    "clean",
    "corpus_names",
    "fetch",
    "locate",
    "read_text",
    "split_sizes",
]
