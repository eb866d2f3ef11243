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
        (a, a_fracs), (b, b_fracs) = self.operand(command["a"]), self.operand(command["b"])
        adder = Adder(command["accumulator"])
        terms = [np.multiply.outer(a[:, k], b[k, :]) for k in range(a.shape[1])]

        def frac_of(k):
            return np.add.outer(a_fracs[:, k], b_fracs[k, :])

        bias = command["bias"]
        if bias is not None:
            bias = self.codes(bias), self.form(bias)["frac"]
        if command.get("block"):
            sums = adder.total_of_blocks(terms, frac_of, command["block"], bias)
        else:
            sums = adder.total(terms, frac_of(0), bias)
        if command["edge"] == "relu":
            sums = np.maximum(sums, 0)
        if command["edge"] == "mask":
            sums = sums * (self.codes(command["mask"]) > 0).astype(object)
        self.check(command, *self.scaled(sums, adder.frac, command["scale"]))

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
