"""Write alerts.yml as the Prometheus operator's PrometheusRule (rules.yaml beside it): python rule_object.py

One source for both worlds; a test fails when the written object drifts from it.
"""

from pathlib import Path

HERE = Path(__file__).resolve().parent
TARGET = HERE / "rules.yaml"
HEAD = """\
# Made from alerts.yml by rule_object.py; change that and run this.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: cisterna
spec:
"""


def rule_object() -> str:
    lines = (HERE / "alerts.yml").read_text().splitlines()
    return HEAD + "".join(f"  {line}\n" if line else "\n" for line in lines if not line.startswith("#"))


if __name__ == "__main__":
    TARGET.write_text(rule_object())
