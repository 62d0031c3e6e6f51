"""What the tests of pages share: sizes, keys, and looks at a canvas."""

from playwright.sync_api import Page, expect

SHAPE = {"frames": 41, "fps": 8.0}  # five segments
QUICK = {"frames": 49, "fps": 24.0, "segment_seconds": 0.5}  # four segments
PIXEL = "([id, x, y]) => [...document.querySelector(id).getContext('2d').getImageData(x, y, 1, 1).data].slice(0, 3)"


def ready(page: Page) -> None:
    """Wait for the first frame."""
    expect(page.locator("#frame")).not_to_be_empty()


def press(page: Page, *keys: str) -> int:
    """Press keys one after the other; how many they were."""
    for key in keys:
        page.keyboard.press(key)
    return len(keys)


def colour_at(page: Page, canvas: str, x: int, y: int) -> list[int]:
    """Red, green and blue of a canvas's pixel."""
    rgb: list[int] = page.evaluate(PIXEL, [canvas, x, y])
    return rgb
