"""How fast charlm is beside its peers, and the tables of results in docs/.

python -m benchmarks --list
python -m benchmarks [NAME ...] [--quick] [--rounds N] [--threads N] [--device cpu|cuda|mps]
python -m benchmarks tables NAME ...
"""
