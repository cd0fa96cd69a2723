/** Panning and zooming of a drawing: by dragging, pinching, the wheel with Ctrl, and calls. */

const LEAST_SCALE = 0.06;
const MOST_SCALE = 2.5;
const READABLE_SCALE = 0.62;
const LARGEST_FIT = 1.1;
const ROOM = 20;
const CLICK_PIXELS = 4;

/** Moves one group of a drawing within the drawing's frame. */
export class PanZoom {
  /**
   * @param {SVGElement} frame
   * @param {SVGElement} content
   */
  constructor(frame, content) {
    this._frame = frame;
    this._content = content;
    this.x = 0;
    this.y = 0;
    this.scale = 1;
    /** Whether a person moved it, so that it must not move by itself any more. */
    this.isHeld = false;
    /** @type {Map<number, {x: number, y: number}>} */
    this._pointers = new Map();
    this._moved = 0;
    frame.addEventListener("pointerdown", (event) => this._down(event));
    frame.addEventListener("pointermove", (event) => this._move(event));
    for (const name of ["pointerup", "pointercancel", "pointerleave"])
      frame.addEventListener(name, (event) => this._pointers.delete(/** @type {PointerEvent} */ (event).pointerId));
    frame.addEventListener("wheel", (event) => this._wheel(event), { passive: false });
    frame.addEventListener("click", (event) => this._afterDrag(event), { capture: true });
  }

  /**
   * Show all of a content of this size.
   * @param {number} width
   * @param {number} height
   */
  fit(width, height) {
    const frame = this._frame.getBoundingClientRect();
    if (!frame.width || !width) return;
    this.scale = clamped(Math.min((frame.width - 2 * ROOM) / width, (frame.height - 2 * ROOM) / height, LARGEST_FIT));
    this.x = (frame.width - width * this.scale) / 2;
    this.y = (frame.height - height * this.scale) / 2;
    this.isHeld = false;
    this._apply();
  }

  /**
   * @param {number} width
   * @param {number} height
   * @returns {number} pixels that a frame of this width needs for all of a content of this size that can be read
   */
  heightFor(width, height) {
    const frame = this._frame.getBoundingClientRect();
    const scale = Math.min(LARGEST_FIT, (frame.width - 2 * ROOM) / Math.max(1, width));
    return Math.ceil(height * Math.max(READABLE_SCALE, scale) + 3 * ROOM);
  }

  /**
   * Show as much as can be read, and in it a certain place.
   * @param {number} width
   * @param {number} height
   * @param {{x: number, y: number}} place
   */
  begin(width, height, place) {
    this.fit(width, height);
    if (this.scale >= READABLE_SCALE || !width) return;
    const frame = this._frame.getBoundingClientRect();
    this.scale = READABLE_SCALE;
    this.x = along(frame.width, width * this.scale, place.x * this.scale);
    this.y = along(frame.height, height * this.scale, place.y * this.scale);
    this._apply();
  }

  /**
   * @param {number} factor
   * @param {number} [x] pixels of the frame that stay where they are; its middle by default
   * @param {number} [y]
   */
  zoom(factor, x = this._frame.clientWidth / 2, y = this._frame.clientHeight / 2) {
    const scale = clamped(this.scale * factor);
    this.x = x - ((x - this.x) * scale) / this.scale;
    this.y = y - ((y - this.y) * scale) / this.scale;
    this.scale = scale;
    this.isHeld = true;
    this._apply();
  }

  /**
   * Bring a part of the content into the frame, if it is outside.
   * @param {{x: number, y: number, width: number, height: number}} part
   */
  reveal(part) {
    const frame = this._frame.getBoundingClientRect();
    const [left, top] = [part.x * this.scale + this.x, part.y * this.scale + this.y];
    const [width, height] = [part.width * this.scale, part.height * this.scale];
    if (left < 0 || left + width > frame.width) this.x += frame.width / 2 - (left + width / 2);
    if (top < 0 || top + height > frame.height) this.y += frame.height / 2 - (top + height / 2);
    this._apply();
  }

  /** @param {PointerEvent} event */
  _down(event) {
    if (event.button !== 0) return;
    this._pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    if (this._pointers.size === 1) this._moved = 0;
  }

  /** @param {PointerEvent} event */
  _move(event) {
    const last = this._pointers.get(event.pointerId);
    if (!last) return;
    const now = { x: event.clientX, y: event.clientY };
    const other = [...this._pointers].find(([id]) => id !== event.pointerId)?.[1];
    this._pointers.set(event.pointerId, now);
    if (other) {
      const frame = this._frame.getBoundingClientRect();
      const [before, after] = [
        Math.hypot(last.x - other.x, last.y - other.y),
        Math.hypot(now.x - other.x, now.y - other.y),
      ];
      if (before > 0) this.zoom(after / before, (now.x + other.x) / 2 - frame.left, (now.y + other.y) / 2 - frame.top);
      this._moved = Infinity;
      return;
    }
    this._moved += Math.abs(now.x - last.x) + Math.abs(now.y - last.y);
    if (this._moved <= CLICK_PIXELS) return;
    if (!this._frame.hasPointerCapture(event.pointerId)) this._frame.setPointerCapture(event.pointerId);
    this.x += now.x - last.x;
    this.y += now.y - last.y;
    this.isHeld = true;
    this._apply();
  }

  /** @param {WheelEvent} event */
  _wheel(event) {
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    const frame = this._frame.getBoundingClientRect();
    this.zoom(Math.exp(-event.deltaY / 250), event.clientX - frame.left, event.clientY - frame.top);
  }

  /** @param {Event} event the click that ends a drag is none */
  _afterDrag(event) {
    if (this._moved > CLICK_PIXELS) event.stopPropagation();
    this._moved = 0;
  }

  _apply() {
    this._content.setAttribute(
      "transform",
      `translate(${this.x.toFixed(1)} ${this.y.toFixed(1)}) scale(${this.scale.toFixed(4)})`,
    );
  }
}

/** @param {number} scale */
function clamped(scale) {
  return Math.min(MOST_SCALE, Math.max(LEAST_SCALE, scale));
}

/**
 * Where a content begins in a frame, so that a place of it is in the middle, or as near as leaves no empty room.
 * @param {number} frame
 * @param {number} content
 * @param {number} place
 * @returns {number}
 */
function along(frame, content, place) {
  if (content <= frame - 2 * ROOM) return (frame - content) / 2;
  return Math.min(ROOM, Math.max(frame - ROOM - content, frame / 2 - place));
}
