// Turns an accumulator into an output code: divides by 2^SHIFT, rounds, fits.
//
// What: `out` is `in` / 2^SHIFT (SHIFT >= 0, also beyond IN_BITS), rounded to a
// whole number and then fitted to OUT_BITS by OVERFLOW (see fit.sv). ROUNDING:
//   0  floor          toward minus infinity
//   1  nearest even   ties to the even neighbour
//   2  nearest up     ties toward plus infinity
//   3  nearest away   ties away from zero
//   4  zero           toward zero
// How: the arithmetic shift is the floor; what it dropped decides whether one
// is added. The sum is exact, so rounding can never wrap by itself.
// Timing: combinational.
module requantize #(
    parameter IN_BITS  = 32,
    parameter SHIFT    = 0,
    parameter ROUNDING = 1,
    parameter OUT_BITS = 8,
    parameter OVERFLOW = 0
) (
    input  wire signed [ IN_BITS-1:0] in,
    output wire signed [OUT_BITS-1:0] out
);
    // Room for the number itself, and for twice what the shift drops.
    localparam W = IN_BITS + SHIFT + 2;
    localparam signed [W-1:0] ONE  = 1;
    localparam signed [W-1:0] UNIT = ONE <<< SHIFT;

    wire                negative = in[IN_BITS-1];
    wire signed [W-1:0] wide     = {{(W - IN_BITS){in[IN_BITS-1]}}, in};
    wire signed [W-1:0] floored  = wide >>> SHIFT;
    wire signed [W-1:0] dropped  = wide - (floored <<< SHIFT);  // 0 .. UNIT-1
    wire signed [W-1:0] twice    = dropped <<< 1;
    wire                above    = twice > UNIT;
    wire                tie      = twice == UNIT;
    wire                exact    = dropped == 0;

    wire up =
        ROUNDING == 1 ? above | (tie & floored[0]) :
        ROUNDING == 2 ? above | tie                :
        ROUNDING == 3 ? above | (tie & ~negative)  :
        ROUNDING == 4 ? negative & ~exact          : 1'b0;

    wire signed [W-1:0] rounded = up ? floored + ONE : floored;

    fit #(.IN_BITS(W), .OUT_BITS(OUT_BITS), .OVERFLOW(OVERFLOW)) to_output (
        .in (rounded),
        .out(out)
    );
endmodule
