"""What a page says, as Streamlit's own test double shows it."""


def words(app):
    """All text of a page."""
    kinds = ("markdown", "caption", "code", "info", "error", "header", "subheader")
    found = [element.value for kind in kinds for element in app.get(kind)]
    return "\n".join([*found, *(element.proto.body for element in app.get("html"))])
