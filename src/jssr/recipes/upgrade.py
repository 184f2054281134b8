"""Recipes and headers of weights files as jssr 0.1 wrote them, in today's keys."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from jssr.recipes.config import Inference, Network, Preprocessing, Training

RENAMED: dict[object, str] = {"anchor": "reference_phase", "flat": "pixels"}
SECTIONS: dict[str, type[BaseModel]] = {
    "network": Network,
    "preprocessing": Preprocessing,
    "training": Training,
    "inference": Inference,
}


def current_recipe(data: object) -> object:
    """Plain data of a recipe in today's four sections. Those of jssr 0.1 lay side by side; other data stays."""
    if not isinstance(data, dict) or "system" not in data:
        return data
    rest: dict[Any, Any] = {RENAMED.get(key, key): value for key, value in data.items()}
    sections: dict[str, dict[str, Any]] = {name: {} for name in SECTIONS}
    for name, model in SECTIONS.items():
        sections[name] = {key: rest.pop(key) for key in list(rest) if key in model.model_fields}
    if sections["training"].get("schedule_by") == "part":
        sections["training"]["schedule_by"] = "network"
    networks = sections["network"].get("networks")
    if isinstance(networks, dict):
        sections["network"]["networks"] = {name: _arguments(values) for name, values in networks.items()}
    return {**rest, **{name: section for name, section in sections.items() if section}}


def _arguments(values: object) -> object:
    if not isinstance(values, dict):
        return values
    return {"control_points" if key == "knots" else key: value for key, value in values.items()}


def current_header(header: dict[str, Any]) -> dict[str, Any]:
    """The header of a weights file with today's keys."""
    header = {"networks" if key == "parts" else key: value for key, value in header.items()}
    return {**header, "recipe": current_recipe(header.get("recipe"))}
