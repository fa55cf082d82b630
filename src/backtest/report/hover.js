for (const figure of document.querySelectorAll("figure.course")) {
  const svg = figure.querySelector("svg"), cursor = svg.querySelector(".cursor");
  const [end, left, right] = ["end", "left", "right"].map((k) => +figure.dataset[k]);
  const series = [...svg.querySelectorAll(".values")].map((g) => ({
    name: g.dataset.name,
    points: g.dataset.values.split(",").map((p) => p.split(" ")).map(([t, v]) => [+t, v]),
  }));
  const tip = figure.appendChild(document.createElement("div"));
  tip.className = "tip";
  const hide = () => { tip.style.display = "none"; cursor.setAttribute("x1", -9); cursor.setAttribute("x2", -9); };
  hide();
  figure.addEventListener("mouseleave", hide);
  svg.addEventListener("mousemove", (e) => {
    const box = svg.getBoundingClientRect();
    const x = (e.clientX - box.left) * svg.viewBox.baseVal.width / box.width;
    if (x < left || x > right) return hide();
    const t = (x - left) / (right - left) * end;
    const lines = series.map(({ name, points }) => {
      let lo = 0, hi = points.length - 1;
      while (lo < hi) { const mid = (lo + hi + 1) >> 1; if (points[mid][0] <= t) lo = mid; else hi = mid - 1; }
      return name + ": " + points[lo][1];
    });
    const clock = [t / 3600, t / 60 % 60, t % 60].map((n) => String(Math.floor(n)).padStart(2, "0")).join(":");
    tip.textContent = [clock, ...lines].join("\n");
    tip.style.display = "block";
    const flip = e.clientX - box.left > box.width / 2;
    tip.style.left = e.clientX - figure.getBoundingClientRect().left + (flip ? -tip.offsetWidth - 14 : 14) + "px";
    tip.style.top = e.clientY - figure.getBoundingClientRect().top + 10 + "px";
    cursor.setAttribute("x1", x); cursor.setAttribute("x2", x);
  });
}
