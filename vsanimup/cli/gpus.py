"""Which GPUs the computer has, by their makers, and what makes use of them."""

from __future__ import annotations

import platform
import sys
from pathlib import Path
from typing import Final

MAKERS: Final = {"0x10de": "NVIDIA", "0x1002": "AMD", "0x8086": "Intel"}
"""By PCI's numbers."""
WINDOWS_DISPLAYS: Final = r"SYSTEM\CurrentControlSet\Control\Class\{4d36e968-e325-11ce-bfc1-08002be10318}"
"""Where Windows lists display adapters."""
RUNTIMES: Final = {
    ("NVIDIA", "linux"): ("tensorrt", "pip install 'vsanimup[tensorrt]'"),
    ("NVIDIA", "win32"): ("tensorrt", "pip install 'vsanimup[tensorrt]'"),
    ("AMD", "linux"): ("migraphx", "ROCm, and  pip uninstall onnxruntime, then pip install onnxruntime-migraphx"),
    ("AMD", "win32"): ("directml", "pip uninstall onnxruntime, then pip install onnxruntime-directml"),
    ("Intel", "linux"): ("openvino", "pip uninstall onnxruntime, then pip install onnxruntime-openvino"),
    ("Intel", "win32"): ("openvino", "pip uninstall onnxruntime, then pip install onnxruntime-openvino openvino"),
    ("Apple", "darwin"): ("coreml", "the ordinary onnxruntime has it"),
}
"""Backend for a maker's GPUs on a system, and what to install for it."""


def makers(system: str = sys.platform, cards: Path = Path("/sys/class/drm")) -> list[str]:
    """Makers of the GPUs, each once; empty where none is found, or the system does not say."""
    if system == "darwin":
        return ["Apple"] if platform.machine() == "arm64" else []
    found = _of_windows() if system == "win32" else _of_linux(cards)
    return [maker for maker in MAKERS.values() if maker in found]


def _of_linux(cards: Path) -> set[str]:
    found = set()
    for path in cards.glob("card*/device/vendor"):
        try:
            found.add(MAKERS.get(path.read_text(encoding="ascii").strip(), ""))
        except (OSError, ValueError):
            continue
    return found


def _of_windows() -> set[str]:
    if sys.platform != "win32":
        return set()
    import winreg

    found, index = set(), 0
    with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, WINDOWS_DISPLAYS) as adapters:
        while True:
            try:
                with winreg.OpenKey(adapters, f"{index:04}") as adapter:
                    name = str(winreg.QueryValueEx(adapter, "DriverDesc")[0])
            except OSError:  # there are no more
                return found
            found |= {maker for maker in MAKERS.values() if maker.lower() in name.lower()}
            found |= {"AMD"} if "radeon" in name.lower() else set()
            index += 1


def advice(maker: str, system: str = sys.platform) -> tuple[str, str] | None:
    """Backend for a maker's GPUs, and what to install for it; ``None`` where there is none."""
    return RUNTIMES.get((maker, system))
