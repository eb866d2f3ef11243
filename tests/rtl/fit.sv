// Fits a signed number to a narrower (or wider) signed format.
//
// What: `out` is `in` when OUT_BITS can hold it; otherwise OVERFLOW decides:
//   0  saturate             to -2^(OUT_BITS-1) .. 2^(OUT_BITS-1)-1
//   1  saturate, symmetric  to -(2^(OUT_BITS-1)-1) .. 2^(OUT_BITS-1)-1
//   2  wrap                 keep the low OUT_BITS bits
// How: compares with both limits in one bit more than the wider of the formats.
// Timing: combinational.
module fit #(
    parameter IN_BITS  = 16,
    parameter OUT_BITS = 8,
    parameter OVERFLOW = 0
) (
    input  wire signed [ IN_BITS-1:0] in,
    output wire signed [OUT_BITS-1:0] out
);
    localparam W = (IN_BITS > OUT_BITS ? IN_BITS : OUT_BITS) + 1;
    localparam signed [W-1:0] ONE      = 1;
    localparam signed [W-1:0] LARGEST  = (ONE <<< (OUT_BITS - 1)) - ONE;
    localparam signed [W-1:0] SMALLEST = OVERFLOW == 1 ? -LARGEST : -LARGEST - ONE;

    wire signed [W-1:0] wide = {{(W - IN_BITS){in[IN_BITS-1]}}, in};
    wire signed [W-1:0] fitted =
        OVERFLOW == 2   ? wide     :
        wide > LARGEST  ? LARGEST  :
        wide < SMALLEST ? SMALLEST : wide;

    assign out = fitted[OUT_BITS-1:0];
endmodule
