"""Writing ONNX: a model is recorded, its program is joined where ONNX has one operator, and written node by node.

    recording.py  what the model computes, and what depends on the batch      joins.py  passes before writing
    graph.py  nodes, arrays, names      writers/  one per primitive, as a table      write.py  from program to graph
    file.py  save_onnx
"""
