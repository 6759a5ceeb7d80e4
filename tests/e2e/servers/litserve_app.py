"""LitServe, which takes one record a request and answers 500 to what it cannot read: python litserve_app.py PORT."""

import sys

import litserve


class Linear(litserve.LitAPI):
    def setup(self, device):
        pass

    def decode_request(self, request):
        return float(request["amount"]), float(request["hour"])

    def predict(self, row):
        amount, hour = row
        return 2 * amount + hour

    def encode_response(self, prediction):
        return {"score": prediction}


if __name__ == "__main__":
    server = litserve.LitServer(Linear(api_path="/invocations"), accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=int(sys.argv[1]), num_api_servers=1, generate_client_file=False)
