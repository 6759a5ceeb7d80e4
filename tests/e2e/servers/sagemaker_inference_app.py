"""The default handlers of sagemaker-inference, as in SageMaker's own containers.

    python sagemaker_inference_app.py PORT

They take and return a bare array, and answer 500 with a traceback to what they cannot read. In the containers,
multi-model-server calls them, which needs Java. Here, uvicorn does.
"""

import sys

import uvicorn
from fastapi import FastAPI, Request, Response
from sagemaker_inference.default_inference_handler import DefaultInferenceHandler
from sagemaker_inference.transformer import Transformer


class Linear(DefaultInferenceHandler):
    def default_model_fn(self, model_dir, context=None):
        return [2.0, 1.0]

    def default_predict_fn(self, data, model, context=None):
        return data.astype(float) @ model


class Context:
    """What the handlers use of multi-model-server's context."""

    system_properties = {"model_dir": "."}

    def __init__(self, headers):
        self.headers, self.status, self.content_type = headers, 200, "text/plain"
        self.request_processor = [self]

    def get_request_properties(self):
        return self.headers

    def set_response_content_type(self, _, content_type):
        self.content_type = content_type

    def set_response_status(self, code, phrase):
        self.status = code


app, transformer = FastAPI(), Transformer(default_inference_handler=Linear())


@app.get("/health")
def health():
    return "ok"


@app.post("/invocations")
async def invoke(request: Request):
    context = Context(request.headers)
    [body] = transformer.transform([{"body": await request.body()}], context)
    return Response(body, context.status, media_type=context.content_type)


uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), access_log=False)
