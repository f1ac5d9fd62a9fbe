from space.errors import StorageError, closest, nearest, one_line


def test_an_error_of_the_system_is_the_name_and_the_reason_without_its_number():
    full = OSError(28, "No space left on device")
    assert one_line(full) == "No space left on device"
    full.filename = "/a/b"
    assert one_line(full) == "'/a/b': No space left on device"
    assert one_line(OSError(18, "Invalid link", "a", None, "b")) == "[Errno 18] Invalid link: 'a' -> 'b'"
    assert one_line(OSError("of a library")) == "of a library"


def test_a_message_is_put_on_one_line():
    assert one_line(ValueError("two\n  lines,\tand a tab")) == "two lines, and a tab"
    assert one_line("text\n") == "text"


def test_an_error_without_a_message_is_named_by_its_type():
    assert one_line(StorageError()) == "StorageError"
    assert one_line("") == ""


def test_a_long_message_is_cut():
    assert one_line(ValueError("abc " * 100), 10) == "abc abc ab"


def test_the_nearest_name_is_suggested_or_the_known_ones_listed():
    assert nearest("quikc", ["quick", "gato"]) == "; did you mean 'quick'?"
    assert nearest("xyz", ["quick", "gato"]) == "; known: gato, quick"
    assert nearest("xyz", []) == ""


def test_a_line_that_lists_the_known_names_itself_gets_the_closest_one_or_nothing():
    assert closest("quikc", ["quick", "gato"]) == "; did you mean 'quick'?"
    assert closest("xyz", ["quick", "gato"]) == ""
