"""Graphs: effects by name, joined by cables that carry audio, side chains and control signals."""

from diffmix.graph.difference import Difference, difference
from diffmix.graph.difference.audible import Effects, audible
from diffmix.graph.draw import show, to_dot, to_mermaid, to_svg
from diffmix.graph.grammar import Grammar
from diffmix.graph.graph import Graph
from diffmix.graph.inaudible import audibility, audible_graph
from diffmix.graph.node import Edge, Endpoint, Node
from diffmix.graph.plan import Plan
from diffmix.graph.random import random_graph
from diffmix.graph.render import Renderer, render, streamed
from diffmix.graph.schedule import schedule
from diffmix.graph.session import Session
from diffmix.graph.text import parse, write

__all__ = [
    "Difference",
    "Edge",
    "Effects",
    "Endpoint",
    "Grammar",
    "Graph",
    "Node",
    "Plan",
    "Renderer",
    "Session",
    "audibility",
    "audible",
    "audible_graph",
    "difference",
    "parse",
    "random_graph",
    "render",
    "schedule",
    "show",
    "streamed",
    "to_dot",
    "to_mermaid",
    "to_svg",
    "write",
]
