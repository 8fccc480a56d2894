"""Unlearning methods: one small file each, whose first line says what the method is wherever methods are listed.

A method is a frozen dataclass whose fields are its settings, with a loss over what forward passes gave
(core/pipeline/step_context.py). May use settings and util; torch only inside functions. Begin with `base`, then
`gradient_ascent`. A new method is a file and a line in METHODS.
"""

from core.methods.adversarial import Adversarial
from core.methods.base import Method
from core.methods.base_ce_u import BaseCEU
from core.methods.blade import BLADE
from core.methods.ce_u import CEU
from core.methods.decline import Decline
from core.methods.dpo import DPO
from core.methods.ga_kl_id import AscentKLID
from core.methods.ga_kl_ood import AscentKLOOD
from core.methods.grad_diff_id import GradDiffID
from core.methods.grad_diff_ood import GradDiffOOD
from core.methods.gradient_ascent import GradientAscent
from core.methods.grail import GRAIL
from core.methods.memflex import MemFlex
from core.methods.nauf import NAUF
from core.methods.never_taught import NeverTaught
from core.methods.npo import NPO
from core.methods.o3 import O3
from core.methods.pdu import PDU
from core.methods.random_labels import RandomLabels
from core.methods.refusal import Refusal
from core.methods.rmu import RMU
from core.methods.satimp import SatImp
from core.methods.simnpo import SimNPO
from core.methods.sure import SURE
from core.methods.task_vector import TaskVector
from core.methods.undial import UNDIAL
from core.methods.wga import WGA

METHODS: dict[str, type[Method]] = {
    method.name: method
    for method in (
        MemFlex,
        GradientAscent,
        RandomLabels,
        Adversarial,
        GradDiffID,
        GradDiffOOD,
        AscentKLID,
        AscentKLOOD,
        NPO,
        SimNPO,
        DPO,
        Refusal,
        NAUF,
        RMU,
        UNDIAL,
        WGA,
        SatImp,
        CEU,
        BaseCEU,
        NeverTaught,
        Decline,
        PDU,
        BLADE,
        TaskVector,
        O3,
        SURE,
        GRAIL,
    )
}

__all__ = ["METHODS", "Method"]
