"""Recomputes every result of a dumped training step from its inputs.

    python3 recompute.py DUMP...

Each DUMP is a folder that `systoliq train --out RUN --dump-step S` wrote: raw codes as .npy and
manifest.json. Written from docs/numerics.md alone, in Python's unbounded integers. Prints a line for
each folder; ends with status 1 at the first code that differs.
"""

import json
import sys
from pathlib import Path

import numpy as np

M64 = (1 << 64) - 1
GOLDEN = 0x9E3779B97F4A7C15


# ------------------------------------------------------------------------------- random words


def mix64(z):
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & M64
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & M64
    return z ^ (z >> 31)


def with_part(key, part):
    return mix64(((key ^ mix64((part + GOLDEN) & M64)) + GOLDEN) & M64)


def words(key, count):
    """Words 0 to count - 1 under a key."""
    x = (np.arange(count, dtype=np.uint64) + np.uint64(key & 0xFFFFFFFF)).astype(np.uint32)
    x ^= x >> np.uint32(17)
    x *= np.uint32(0xED5AD4BB)
    x += np.uint32(key >> 32)
    x ^= x >> np.uint32(11)
    x *= np.uint32(0xAC4C1B51)
    x ^= x >> np.uint32(15)
    x *= np.uint32(0x31848BAB)
    return x ^ (x >> np.uint32(14))


# --------------------------------------------------------------------------------- conversion


def round_shift(raw, shift, rounding, word):
    """raw / 2^shift as an integer."""
    if shift <= 0:
        return raw << -shift
    floor, rest, half = raw >> shift, raw & ((1 << shift) - 1), 1 << (shift - 1)
    if rounding == "floor":
        return floor
    if rounding == "nearest-even":
        return floor + (rest > half or (rest == half and floor & 1))
    if rounding == "nearest-up":
        return floor + (rest >= half)
    if rounding == "nearest-away":
        return floor + (rest > half or (rest == half and raw > 0))
    if rounding == "zero":
        return floor + (raw < 0 and rest > 0)
    if rounding == "stochastic":
        random = word >> (32 - shift) if shift <= 32 else word << (shift - 32)
        return (raw + random) >> shift
    raise ValueError(rounding)


def ends(bits, signed, overflow):
    largest = (1 << (bits - 1)) - 1 if signed else (1 << bits) - 1
    smallest = -largest - 1 if signed else 0
    if overflow == "saturate-symmetric":
        smallest = -largest if signed else 0
    return smallest, largest


def limit(value, bits, signed, overflow):
    smallest, largest = ends(bits, signed, overflow)
    if smallest <= value <= largest:
        return value
    if overflow == "wrap":
        value &= (1 << bits) - 1
        return value - (1 << bits) if signed and value >> (bits - 1) else value
    return min(max(value, smallest), largest)


def convert(raw, frac, form, to, conversion):
    """Integers of `frac` fraction bits, in their logical order, into a format of `to` fraction bits
    each."""
    flat = [int(value) for value in np.asarray(raw, dtype=object).ravel()]
    fracs = frac if isinstance(frac, list) else [frac] * len(flat)
    drawn = words(int(conversion["key"], 16), len(flat)).tolist()
    out = [
        limit(
            round_shift(value, f - t, conversion["rounding"], word),
            form["bits"],
            form["signed"],
            conversion["overflow"],
        )
        for value, f, t, word in zip(flat, fracs, np.ravel(to).tolist(), drawn)
    ]
    return np.array(out, dtype=object).reshape(np.shape(raw))


def dynamic_frac(raw, frac, form, overflow):
    """The largest f for which the largest and the smallest value fit; None where all are 0."""
    values = [int(value) for value in np.asarray(raw, dtype=object).ravel()]
    low, high = min(values), max(values)
    if low == high == 0:
        return None
    smallest, largest = ends(form["bits"], form["signed"], overflow)

    def fits(f):
        rounded = [round_shift(value, frac - f, "nearest-even", 0) for value in (low, high)]
        return smallest <= rounded[0] and rounded[1] <= largest

    candidates = [f for f in range(-64, 65) if fits(f)]
    return max(candidates) if candidates else -64


# ------------------------------------------------------------------------------------- sums


class Adder:
    """An accumulator for terms of `frac` fraction bits."""

    def __init__(self, accumulator):
        self.bits = accumulator["bits"]
        self.frac = accumulator["frac"]
        self.rounding = accumulator["rounding"]
        self.overflow = accumulator["overflow"]
        self.at_end = accumulator.get("overflow_at", "each") == "end"
        self.chunk = accumulator.get("chunk")
        self.key = int(accumulator["key"], 16)

    def limited(self, sums):
        if self.at_end:
            return sums
        return self.limited_always(sums)

    def limited_always(self, sums):
        one = np.frompyfunc(lambda v: limit(v, self.bits, True, self.overflow), 1, 1)
        return one(sums)

    def aligned(self, terms, frac, k):
        """Terms of `frac` fraction bits, one number or one each, as addition number k."""
        shift = np.broadcast_to(np.asarray(frac, dtype=object) - self.frac, terms.shape)
        drawn = words(with_part(self.key, k), terms.size).astype(object).reshape(terms.shape)
        one = np.frompyfunc(lambda v, s, w: round_shift(v, s, self.rounding, int(w)), 3, 1)
        return one(terms, shift, drawn)

    def total_of_blocks(self, terms, frac_of, block, bias=None):
        """Sums block by block: exact within, then aligned from the fraction bits of the block."""
        sums = np.zeros(terms[0].shape, dtype=object)
        for start in range(0, len(terms), block):
            end = min(start + block, len(terms))
            exact = sum(terms[start + 1 : end], terms[start])
            sums = self.limited(sums + self.aligned(exact, frac_of(start), end - 1))
        return self.finished(sums, len(terms), bias)

    def total(self, terms, frac, bias=None):
        """The sums of a list of arrays, term after term, and of a bias (codes, fraction bits)."""
        chunk = self.chunk or max(len(terms), 1)
        sums = None
        for start in range(0, len(terms), chunk):
            part = np.zeros(terms[0].shape, dtype=object)
            for k in range(start, min(start + chunk, len(terms))):
                part = self.limited(part + self.aligned(terms[k], frac, k))
            if self.chunk is None:
                sums = part
            else:
                sums = part if sums is None else sums
                sums = part if sums is part else self.limited(sums + part)
        return self.finished(sums, len(terms), bias)

    def finished(self, sums, count, bias):
        if bias is not None:
            codes, bias_frac = bias
            spread = np.broadcast_to(codes, sums.shape).copy()
            sums = self.limited(sums + self.aligned(spread, bias_frac, count))
        return self.limited_always(sums) if self.at_end else sums


# ----------------------------------------------------------------------------------- softmax

LOG2_E = 1549082005  # round(2^30 log2 e)


def integer_exp2(numerator, denominator, frac):
    """2^(-numerator / denominator) rounded to `frac` bits: roots of 2 by bisection."""
    # v = 2^-n/d  <=>  (v 2^F)^d = 2^(F d - n)
    work = frac + 20
    target = 1 << (work * denominator - numerator)
    low, high = 0, (1 << work) + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if middle**denominator <= target else (low, middle)
    return (low + (1 << 19)) >> 20


def integer_log2(numerator, denominator, frac):
    """log2(1 + numerator / denominator) rounded to `frac` bits, digit by digit."""
    work, precision = frac + 10, 160
    x, result = ((denominator + numerator) << precision) // denominator, 0
    for _ in range(work):
        x = (x * x) >> precision
        result <<= 1
        if x >> (precision + 1):
            result |= 1
            x >>= 1
    return (result + (1 << 9)) >> 10


TABLES = {}


def tables(entries, frac):
    if (entries, frac) not in TABLES:
        exp2 = [integer_exp2(i, entries, frac) for i in range(entries + 1)]
        log2 = [integer_log2(i, entries, frac) for i in range(entries)] + [1 << frac]
        TABLES[entries, frac] = exp2, log2
    return TABLES[entries, frac]


def look_up(table, position, bits, unit):
    low_bits = bits - (unit["entries"].bit_length() - 1)
    at, low = position >> low_bits, position & ((1 << low_bits) - 1)
    if unit["interpolation"] == "none" or low_bits == 0:
        return table[at]
    return table[at] + (((table[at + 1] - table[at]) * low + (1 << (low_bits - 1))) >> low_bits)


def softmax_differences(logits, frac, labels, unit):
    """P - [class = label] in the unit's fraction bits."""
    t_frac, v_frac, p_frac = unit["exponent_frac"], unit["table_frac"], unit["probability_frac"]
    exp2, _ = tables(unit["entries"], v_frac)
    rows = []
    for row, label in zip(logits, labels):
        largest = max(row)
        powers = []
        for z in row:
            t = round_shift((largest - z) * LOG2_E, frac + 30 - t_frac, "nearest-even", 0)
            whole, part = t >> t_frac, t & ((1 << t_frac) - 1)
            power = 0 if whole > v_frac else look_up(exp2, part, t_frac, unit) >> whole
            powers.append(power)
        total = sum(powers)
        p = [((v << (p_frac + 1)) + total) // (2 * total) for v in powers]
        p[int(label)] -= 1 << p_frac
        rows.append(p)
    return np.array(rows, dtype=object)


# ------------------------------------------------------------------------------------ curves


def exp_fixed(numerator, denominator, precision):
    """e^(numerator / denominator) at so many fraction bits: the series of a small part, squared."""
    halvings = 12
    part = (numerator << precision) // (denominator << halvings)
    term = total = 1 << precision
    for n in range(1, 40):
        term = (term * part) >> precision
        term //= n
        total += term
    for _ in range(halvings):
        total = (total * total) >> precision
    return total


def curve_table(name):
    if name not in TABLES:
        one, entries = 1 << 120, []
        for j in range(513):
            e = exp_fixed(j - 256, 32, 120)
            if name == "sigmoid":
                numerator, denominator = e, one + e
            else:
                numerator, denominator = e * e - one * one, e * e + one * one
            # To 20 fraction bits; no entry but those at 0 is a tie.
            entries.append((2 * (numerator << 20) + denominator) // (2 * denominator))
        TABLES[name] = entries
    return TABLES[name]


def curve(name, raw, frac):
    """What sigmoid or tanh make of a value, at 20 fraction bits."""
    table = curve_table(name)
    rounded = round_shift(raw, frac - 16, "nearest-even", 0)
    u = min(max(rounded, -(1 << 19)), (1 << 19) - 1) + (1 << 19)
    j, low = u >> 11, u & 2047
    return table[j] + (((table[j + 1] - table[j]) * low + 1024) >> 11)


def slope(name, code, frac):
    """Of the curve where a code left it, and its fraction bits."""
    whole, code = max(frac, 0), code << max(-frac, 0)
    one = 1 << whole
    return (code * (one - code) if name == "sigmoid" else one * one - code * code), 2 * whole


# ----------------------------------------------------------------------------------- windows


def pixel(axis, position, tap):
    """What a position and a tap of a window meet; None in padding and between dilated elements."""
    place = axis["step"] * position + axis["tap_step"] * tap - axis["pad"]
    if place % axis["spread"] or not 0 <= place // axis["spread"] < axis["extent"]:
        return None
    return place // axis["spread"]


def windows_met(axes):
    """Of each window of one image, in order: (tap, place in the image) of what it meets, in order."""
    down, along = axes
    for oy in range(down["positions"]):
        for ox in range(along["positions"]):
            met = []
            for ky in range(down["taps"]):
                for kx in range(along["taps"]):
                    y, x = pixel(down, oy, ky), pixel(along, ox, kx)
                    if y is not None and x is not None:
                        met.append((ky * along["taps"] + kx, y * along["extent"] + x))
            yield met


def viewed(array, view):
    """A stored matrix as it is read."""
    if view == "stored":
        return array
    if "flat" in view:
        return array.reshape(len(array) // view["flat"], -1)
    if "kernel" in view:
        taps = view["kernel"][0] * view["kernel"][1]
        # [o, tap, c] with taps turned, as [(tap, o), c].
        by_tap = array.reshape(len(array), taps, -1)[:, ::-1]
        return by_tap.transpose(1, 0, 2).reshape(taps * len(array), -1)
    axes, channels = view["windows"], array.shape[1]
    pixels, taps = [axes[0][of] * axes[1][of] for of in ("extent", "taps")]
    met, rows = list(windows_met(axes)), []
    for image in array.reshape(-1, pixels, channels):
        for window in met:
            row = np.zeros((taps, channels), dtype=object)
            for tap, place in window:
                row[tap] = image[place]
            rows.append(row.ravel())
    return np.array(rows, dtype=object)


def cut(array, how, at, count):
    if how == "whole":
        return array
    axis = 0 if how == "rows" else 1
    return np.split(array, count, axis=axis)[at]


def reciprocal(count):
    """1 / count as a mantissa of 16 bits and an exponent, ties to even."""
    exponent = 15 + (count - 1).bit_length()
    mantissa, rest = divmod(1 << exponent, count)
    mantissa += 2 * rest > count or (2 * rest == count and mantissa & 1)
    return (mantissa, exponent) if mantissa < 1 << 16 else (1 << 15, exponent - 1)


def mean_factors(axes, counts_padding):
    """The multiplier of every window of one image, at one number of fraction bits."""
    met = list(windows_met(axes))
    counts = [axes[0]["taps"] * axes[1]["taps"] if counts_padding else len(window) for window in met]
    factors = [reciprocal(count) for count in counts]
    most = max(exponent for _, exponent in factors)
    return [mantissa << (most - exponent) for mantissa, exponent in factors], most


# ------------------------------------------------------------------------------------- steps


class Dump:
    def __init__(self, folder):
        self.folder = Path(folder)
        self.manifest = json.loads((self.folder / "manifest.json").read_text())
        self.tensors = {tensor["file"]: tensor for tensor in self.manifest["tensors"]}

    def codes(self, file):
        return np.load(self.folder / file).astype(object)

    def form(self, file):
        return self.tensors[file]["format"]

    def chosen_from_values(self, file):
        """Whether the fraction bits follow from the values of this step alone."""
        plan = self.tensors[file]["plan"]
        return any(
            [" dynamic" in plan, " block" in plan, " history" in plan and self.manifest["step"] == 0]
        )

    def fracs(self, file):
        """The fraction bits of every element."""
        tensor = self.tensors[file]
        shape, blocks = tensor["shape"], tensor.get("blocks")
        if not blocks:
            return np.full(shape, tensor["format"]["frac"], dtype=object)
        of_blocks = np.load(self.folder / blocks["fracs"]).astype(object)
        axis = 1 if blocks["along"] == "row" else 0
        return np.take(of_blocks, np.arange(shape[axis]) // blocks["size"], axis=axis)

    def operand(self, operand):
        """Codes and fraction bits of an operand."""
        pair = self.codes(operand["file"]), self.fracs(operand["file"])
        return [array.T if operand["transposed"] else array for array in pair]

    def part(self, operand, how, at, count):
        """What one of several products reads of an operand, and its fraction bits."""
        array = viewed(cut(self.codes(operand["file"]), how, at, count), operand["view"])
        array = array.T if operand["transposed"] else array
        return array, np.full(array.shape, self.form(operand["file"])["frac"], dtype=object)

    def through_edge(self, command, raw, frac):
        """Values behind an edge, with their fraction bits."""
        edge = command["edge"]
        if edge == "pass":
            return raw, frac
        if edge in ("relu", "clipped_relu"):
            raw = np.maximum(raw, 0)
        if edge == "clipped_relu":
            most = command["most"]
            common = max(frac, most["frac"])
            clip = most["raw"] << (common - most["frac"])
            return np.minimum(raw * (1 << (common - frac)), clip), common
        if edge in ("sigmoid", "tanh"):
            return np.frompyfunc(lambda value: curve(edge, value, frac), 1, 1)(raw), 20
        if edge == "relu":
            return raw, frac
        codes, form = self.codes(command["mask"]), self.form(command["mask"])
        codes = codes.reshape(raw.shape)
        if edge == "mask":
            return raw * (codes > 0).astype(object), frac
        if edge == "mask_between":
            most = command["most"]
            below = round_shift(most["raw"], most["frac"] - form["frac"], "nearest-even", 0)
            return raw * ((codes > 0) & (codes < below)).astype(object), frac
        name = edge.removesuffix("_slope")
        slopes = np.frompyfunc(lambda code: slope(name, code, form["frac"])[0], 1, 1)(codes)
        return raw * slopes, frac + slope(name, 0, form["frac"])[1]

    def check_blocks(self, name, raw, frac, file, overflow):
        """Each block has the fraction bits that its own values ask for."""
        blocks, form, fracs = self.tensors[file]["blocks"], self.form(file), self.fracs(file)
        axis = 1 if blocks["along"] == "row" else 0
        raw = np.asarray(raw, dtype=object).reshape(fracs.shape)
        raw, fracs = (raw, fracs) if axis == 1 else (raw.T, fracs.T)
        for line, (values, found) in enumerate(zip(raw, fracs)):
            for start in range(0, len(values), blocks["size"]):
                expected = dynamic_frac(values[start : start + blocks["size"]], frac, form, overflow)
                expected = form["bits"] - 1 if expected is None else expected
                if found[start] != expected:
                    self.fail(f"{name}, block at {line}, {start}: {found[start]}, expected {expected}")

    def check(self, command, raw, frac):
        """Compares what is dumped with the conversion of `raw`."""
        conversion = command["conversion"]
        base = command["output"].removesuffix(".npy")
        copies = [f"{base}.npy", f"{base}.row.npy", f"{base}.column.npy"]
        for file in [copy for copy in copies if copy in self.tensors]:
            form, name = self.form(file), command.get("command", file)
            if self.tensors[file].get("blocks"):
                self.check_blocks(name, raw, frac, file, conversion["overflow"])
            elif self.chosen_from_values(file):
                expected = dynamic_frac(raw, frac, form, conversion["overflow"])
                if expected is not None and expected != form["frac"]:
                    self.fail(f"{name}: {form['frac']} fraction bits, expected {expected}")
            self.compare(name, convert(raw, frac, form, self.fracs(file), conversion), self.codes(file))

    def compare(self, name, expected, found):
        expected = expected.reshape(found.shape)
        if (expected != found).any():
            at = tuple(int(i) for i in np.argwhere(expected != found)[0])
            count = int((expected != found).sum())
            self.fail(f"{name}: {count} differ, at {at} {found[at]}, expected {expected[at]}")

    def fail(self, message):
        sys.exit(f"{self.folder}: {message}")

    def scaled(self, sums, frac, factor):
        return sums * factor["mantissa"], frac + factor["exponent"]

    def load(self, command):
        values = np.load(self.folder / command["from"]).astype(np.float64)
        raw, fracs = [], []
        for value in values.ravel().tolist():
            numerator, denominator = value.as_integer_ratio()
            raw.append(numerator)
            fracs.append(denominator.bit_length() - 1)
        if self.chosen_from_values(command["output"]):
            most = max(fracs)
            raw = [value << (most - f) for value, f in zip(raw, fracs)]
            fracs = most
        self.check(command, np.array(raw, dtype=object).reshape(values.shape), fracs)

    def gemm(self, command):
        adder, bias = Adder(command["accumulator"]), command["bias"]
        if bias is not None:
            bias = self.codes(bias), self.form(bias)["frac"]
        if command.get("block"):
            (a, a_fracs), (b, b_fracs) = self.operand(command["a"]), self.operand(command["b"])
            terms = [np.multiply.outer(a[:, k], b[k, :]) for k in range(a.shape[1])]

            def frac_of(k):
                return np.add.outer(a_fracs[:, k], b_fracs[k, :])

            sums = adder.total_of_blocks(terms, frac_of, command["block"], bias)
        else:
            sums = self.products(command, adder, bias)
        shape = self.tensors[command["output"]]["shape"]
        sums, frac = self.through_edge(command, sums.reshape(shape), adder.frac)
        self.check(command, *self.scaled(sums, frac, command["scale"]))

    def products(self, command, adder, bias):
        """The sums of one product, or of several side by side."""
        repeats, parts = command["repeats"], []
        count, axis = repeats["count"], 0 if repeats["output"] == "rows" else 1
        operands = []
        for at in range(count):
            a, a_fracs = self.part(command["a"], repeats["a"], at, count)
            b, b_fracs = self.part(command["b"], repeats["b"], at, count)
            operands.append((a, b, a_fracs.flat[0] + b_fracs.flat[0]))
        depth, frac = operands[0][0].shape[1], operands[0][2]
        terms = [
            np.concatenate([np.multiply.outer(a[:, k], b[k, :]) for a, b, _ in operands], axis=axis)
            for k in range(depth)
        ]
        return adder.total(terms, frac, bias)

    def sum(self, command):
        raw, frac = self.combined([(file, None) for file in command["terms"]])
        self.check(command, *self.through_edge(command, raw, frac))

    def select(self, command):
        raw, frac = self.codes(command["input"]), self.form(command["input"])["frac"]
        self.moved_or_converted(command, raw, frac, not command["edge"].endswith("_slope"))

    def moved_or_converted(self, command, raw, frac, moves):
        raw, behind = self.through_edge(command, raw, frac)
        if not moves:
            return self.check(command, raw, behind)
        name = command["command"]
        if self.form(command["output"])["frac"] != frac:
            self.fail(f"{name}: codes that move keep {frac} fraction bits")
        self.compare(name, raw, self.codes(command["output"]))

    def images(self, file, pixels):
        codes = self.codes(file)
        return codes.reshape(-1, pixels, codes.shape[1])

    def pooled(self, command, of_window):
        """What `of_window` makes of each window of each image: a row."""
        axes = command["windows"]
        met = list(windows_met(axes))
        images = self.images(command["input"], axes[0]["extent"] * axes[1]["extent"])
        rows = [of_window(image, at, window) for image in images for at, window in enumerate(met)]
        return np.array(rows, dtype=object)

    def winners(self, command):
        def taps(image, _, window):
            codes = image[[place for _, place in window]]
            # Of equal ones the first.
            return [window[at][0] for at in np.argmax(codes, axis=0)]

        self.compare(command["command"], self.pooled(command, taps), self.codes(command["output"]))

    def largest(self, command):
        def codes(image, _, window):
            return np.max(image[[place for _, place in window]], axis=0)

        raw = self.pooled(command, codes)
        self.moved_or_converted(command, raw, self.form(command["input"])["frac"], True)

    def mean(self, command):
        factors, exponent = mean_factors(command["windows"], command["counts_padding"])

        def scaled(image, at, window):
            return sum(image[place] for _, place in window) * factors[at]

        raw = self.pooled(command, scaled)
        frac = self.form(command["input"])["frac"] + exponent
        self.check(command, *self.through_edge(command, raw, frac))

    def spread(self, command):
        axes, frac = command["windows"], self.form(command["gradient"])["frac"]
        met = list(windows_met(axes))
        pixels = axes[0]["extent"] * axes[1]["extent"]
        gradients = self.images(command["gradient"], len(met))
        out = np.zeros((len(gradients), pixels, gradients.shape[2]), dtype=object)
        if command["winners"]:
            winners = self.images(command["winners"], len(met))
        else:
            factors, exponent = mean_factors(axes, command["counts_padding"])
            frac += exponent
        for image, of_image in enumerate(gradients):
            for at, window in enumerate(met):
                for tap, place in window:
                    if command["winners"]:
                        out[image, place] += of_image[at] * (winners[image, at] == tap)
                    else:
                        out[image, place] += of_image[at] * factors[at]
        out = out.reshape(-1, out.shape[2])
        self.moved_or_converted(command, out, frac, command["moves"])

    def sum_rows(self, command):
        rows = self.codes(command["input"])
        adder = Adder(command["accumulator"])
        fracs = self.fracs(command["input"])
        if command.get("block"):
            sums = adder.total_of_blocks(list(rows), lambda row: fracs[row], command["block"])
        else:
            sums = adder.total(list(rows), fracs[0])
        self.check(command, *self.scaled(sums, adder.frac, command["scale"]))

    def softmax_cross_entropy(self, command):
        logits, labels = self.codes(command["logits"]), np.load(self.folder / command["labels"])
        unit = command["softmax"]
        raw = softmax_differences(logits.tolist(), self.form(command["logits"])["frac"], labels, unit)
        frac = unit["probability_frac"]
        if command["loss_unit"] == "bits":
            raw, frac = raw * LOG2_E, frac + 30
        self.check(command, raw, frac - command["loss_scale_log2"])

    def squared_error(self, command):
        outputs, targets = self.codes(command["outputs"]), self.codes(command["targets"])
        fracs = [self.form(command[side])["frac"] for side in ("outputs", "targets")]
        most = max(fracs)
        raw = outputs * (1 << (most - fracs[0])) - targets * (1 << (most - fracs[1]))
        self.check(command, raw, most - command["loss_scale_log2"])

    def combined(self, parts):
        """The exact sum of (file, factor) pairs, and its fraction bits; a factor may be missing."""
        parts = [(self.codes(file), self.form(file)["frac"], factor) for file, factor in parts]
        scaled = [
            (codes * (factor["mantissa"] if factor else 1), frac + (factor["exponent"] if factor else 0))
            for codes, frac, factor in parts
        ]
        most = max(frac for _, frac in scaled)
        return sum(codes * (1 << (most - frac)) for codes, frac in scaled), most

    def momentum(self, command):
        factors = command["factors"]
        parts = [(command[of], factors[of]) for of in ("momentum", "gradient")]
        if command["weights"]:
            parts.append((command["weights"], factors["weights"]))
        self.check(command, *self.combined(parts))

    def update(self, command):
        def less(factor):
            return {**factor, "mantissa": -factor["mantissa"]}

        parts = [(command["weights"], None), (command["gradient"], less(command["rate"]))]
        if command["residual"]:
            parts.append((command["residual"], None))
        if command["decay"]:
            parts.append((command["weights"], less(command["decay"])))
        self.updated = self.combined(parts)
        self.check(command, *self.updated)

    def residual(self, command):
        exact, frac = self.updated
        rounded, rounded_frac = self.codes(command["weights"]), self.form(command["weights"])["frac"]
        most = max(frac, rounded_frac)
        left = exact * (1 << (most - frac)) - rounded * (1 << (most - rounded_frac))
        self.check(command, left, most)

    def convert(self, command):
        self.check(command, self.codes(command["from"]), self.form(command["from"])["frac"])

    def run(self):
        for command in self.manifest["commands"]:
            getattr(self, command["operation"])(command)
        print(f"{self.folder}: {len(self.manifest['commands'])} commands recomputed")


if __name__ == "__main__":
    for each in sys.argv[1:]:
        Dump(each).run()
