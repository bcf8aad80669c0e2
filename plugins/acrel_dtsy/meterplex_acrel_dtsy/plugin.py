"""Hooks of the plugin, and nothing else."""

from collections.abc import Sequence

from meterplex import hookimpl
from meterplex.sdk import MeterModel
from meterplex_acrel_dtsy import models


@hookimpl
def meterplex_meter_models() -> Sequence[MeterModel]:
    return (models.dtsy1352(), models.ddsy1352(), *models.relatives())
