"use strict";
(() => {
  const viewer = document.getElementById("viewer");
  const chosen = name => viewer.querySelector(`input[name=${name}]:checked`).value;
  const control = name => document.getElementById(name);
  let timer = null;

  function show() {
    const mode = chosen("mode"), slice = control("slice").value, amount = Number(control("amount").value);
    viewer.querySelectorAll(".box").forEach((box, n) => {
      const name = "acs"[n] + slice, [below, above] = box.querySelectorAll(".im");
      below.className = `im ${name}-fixed`;
      above.className = `im ${name}-${chosen("image")} ${mode === "tiles" || mode === "difference" ? mode : ""}`;
      above.style.opacity = mode === "fade" ? amount / 100 : 1;
      above.style.clipPath = mode === "curtain" ? `inset(0 0 0 ${100 - amount}%)` : "";
      box.querySelector("use").setAttribute("href", `#o-${name}`);
      const place = box.querySelector(".place");
      place.textContent = place.dataset.places.split("|")[slice];
      box.querySelector(".outline").style.display = control("outlines").checked ? "" : "none";
    });
    const slides = mode === "fade" || mode === "curtain";
    control("amount").disabled = !slides;
    control("blink").disabled = mode !== "fade";
    control("ends").textContent = slides ? "fixed to moving" : "";
  }

  function blink() {
    clearInterval(timer);
    timer = null;
    if (control("blink").checked && !control("blink").disabled) {
      timer = setInterval(() => {
        control("amount").value = control("amount").value > 50 ? 0 : 100;
        show();
      }, 700);
    }
  }

  viewer.addEventListener("input", event => {
    if (event.target.id === "amount" && event.isTrusted) {
      control("blink").checked = false;
    }
    show();
    blink();
  });
  show();
})();
