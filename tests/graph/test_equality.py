"""When two graphs are one value."""

from diffmix.graph import Edge, Endpoint, Graph, Node

NODES = (Node("a", "In"), Node("b", "In"), Node("sum", "Sum"), Node("more", "Sum"))


def edge(source: str, target: str) -> Edge:
    return Edge(Endpoint(source, "out"), Endpoint(target, "in"))


def test_neither_the_order_of_nodes_nor_of_inlets_matters() -> None:
    one = Graph(NODES, [edge("a", "sum"), edge("b", "more"), edge("b", "sum")])
    other = Graph(NODES[::-1], [edge("b", "more"), edge("a", "sum"), edge("b", "sum")])
    assert one == other
    assert hash(one) == hash(other)


def test_the_order_in_which_an_inlet_adds_matters() -> None:
    assert Graph(NODES, [edge("a", "sum"), edge("b", "sum")]) != Graph(NODES, [edge("b", "sum"), edge("a", "sum")])
    assert Graph(NODES) != Graph(NODES[:3])
    assert Graph(NODES) != "a graph"
