"""Keep the zoom of a chart when its figure changes.

Streamlit replaces a chart whenever its figure changes, and a new chart shows the whole range. So the browser
reports the zoom, and the next figure is drawn with it. A zoom alone does not change the figure.
"""

import streamlit as st
from streamlit.components.v2 import component

from dashboard.figures.front import View

CHART = "front_chart"
REPORTED, DRAWN = "front_zoom", "front_drawn"
REPORT = """
let report = () => {};

function listen() {
  const chart = document.querySelector('.st-key-CHART .js-plotly-plot');
  if (!chart || !chart.on || chart.viewIsReported) return;
  chart.viewIsReported = true;
  chart.on('plotly_relayout', change => {
    if (!Object.keys(change).some(name => /^[xy]axis/.test(name))) return;
    const {xaxis, yaxis} = chart._fullLayout;
    report(xaxis.autorange && yaxis.autorange ? null : [xaxis.range, yaxis.range]);
  });
}

export default function({setStateValue}) {
  report = view => setStateValue('view', view);
  const timer = setInterval(listen, 250);
  return () => clearInterval(timer);
}
""".replace("CHART", CHART)

_reporter = component("pathfront_zoom", js=REPORT)


def listen(study: str) -> None:
    """Mount the invisible component that reports the zoom."""

    def changed() -> None:
        st.session_state[REPORTED] = (study, st.session_state["zoom_reporter"].get("view"))

    _reporter(key="zoom_reporter", on_view_change=changed, height=1)


def forget() -> None:
    """Reset the zoom: the chart shows the whole range when it is opened again."""
    for name in (REPORTED, DRAWN):
        st.session_state.pop(name, None)


def view(study: str, shown: object) -> View | None:
    """The view with which to draw a figure.

    Args:
        study: name of the study.
        shown: everything else that the figure depends on; the view changes only together with it.
    """
    drawn = st.session_state.get(DRAWN)
    if drawn is not None and drawn[:2] == (study, shown):
        return drawn[2]
    name, reported = st.session_state.get(REPORTED) or (None, None)
    current = None
    if name == study and reported:
        (left, right), (low, high) = reported
        current = (left, right), (low, high)
    st.session_state[DRAWN] = (study, shown, current)
    return current
