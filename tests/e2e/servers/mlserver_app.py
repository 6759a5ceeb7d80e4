"""MLServer, which takes tensors of the V2 protocol and answers 500 to one with words: python mlserver_app.py PORT."""

import asyncio
import sys

from mlserver import MLModel, MLServer, ModelSettings, Settings
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceResponse


class Linear(MLModel):
    async def predict(self, payload):
        rows = self.decode(payload.inputs[0], default_codec=NumpyCodec)
        scores = NumpyCodec.encode_output("score", rows @ [2.0, 1.0])
        return InferenceResponse(model_name=self.name, outputs=[scores])


async def serve(port):
    server = MLServer(
        Settings(host="127.0.0.1", http_port=port, grpc_port=0, metrics_endpoint=None, parallel_workers=0, debug=False)
    )
    await server.start([ModelSettings(name="linear", implementation=Linear)])


asyncio.run(serve(int(sys.argv[1])))
