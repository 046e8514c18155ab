"""The contracts of gridflow's topics, and what belongs to them: registry, compatibility, encoding.

Example:
    >>> from schemas import contract
    >>> contract("grid.line-loss.v1").identity
    ('element_id', 'window_start')
"""

from schemas.contracts import Contract, all_contracts, contract
from schemas.errors import RegistryError, SchemaError

__all__ = ["Contract", "RegistryError", "SchemaError", "all_contracts", "contract"]
