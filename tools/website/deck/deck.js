// Start reveal.js; make each result, and words alone, as large as fits.
const WIDTH = 1280, HEIGHT = 720, BELOW = 44, BESIDE = 56, LARGEST = 1.5;

const fitWords = section => {
  for (let size = 30; size >= 20; size -= 2) {
    section.style.setProperty('--words', `${size}px`);
    if (section.scrollHeight <= section.clientHeight) return;
  }
};

const fit = section => {
  const cell = section.querySelector('.jp-CodeCell');
  if (!cell) return fitWords(section);
  cell.style.transform = 'none';
  const unit = section.getBoundingClientRect().width / section.offsetWidth;
  const box = cell.getBoundingClientRect();
  // A wide table stands out of the boxes around it.
  const rights = [...cell.querySelectorAll('table, img, pre')].map(
    shown => shown.getBoundingClientRect().right);
  const wide = (Math.max(...rights, box.right) - box.left) / unit;
  const above = (box.top - section.getBoundingClientRect().top) / unit;
  const free = HEIGHT - BELOW - above;
  const factor = Math.min(
    LARGEST, (WIDTH - 2 * BESIDE) / wide, free * unit / box.height);
  cell.style.transform = `scale(${factor})`;
  // A transform leaves the room that the cell took before.
  cell.style.marginBottom = `${Math.ceil((factor - 1) * cell.offsetHeight)}px`;
};

Reveal.initialize({
  width: WIDTH, height: HEIGHT, margin: 0, center: false, hash: true,
  slideNumber: 'c/t', transition: 'none', plugins: [RevealNotes],
});
Reveal.on('ready', event => fit(event.currentSlide));
Reveal.on('slidechanged', event => fit(event.currentSlide));
