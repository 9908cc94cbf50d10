/** Two clips side by side that play as one; the controls are those of the first. */

const MOST_APART = 0.1; // seconds

export function playTogether(first, second) {
  const align = () => {
    if (Math.abs(second.currentTime - first.currentTime) > MOST_APART)
      second.currentTime = first.currentTime;
  };
  first.addEventListener("play", () => second.play().catch(() => {}));
  first.addEventListener("pause", () => {
    second.pause();
    align();
  });
  first.addEventListener("seeked", align);
  first.addEventListener("timeupdate", align);
  first.addEventListener("ratechange", () => {
    second.playbackRate = first.playbackRate;
  });
}
