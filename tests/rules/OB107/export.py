def export(checkpoint, output, opset, task):
    raise NotImplementedError
