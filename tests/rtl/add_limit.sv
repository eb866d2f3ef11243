// One multiply-accumulate step of a processing element.
//
// What: `out` is `acc` + `a` * `b`, fitted to ACC_BITS by OVERFLOW (see fit.sv).
// How: the product is exact (A_BITS + B_BITS wide) and the sum has one bit more
// than the wider of its terms, so only the fitting can lose anything.
// Timing: combinational.
module add_limit #(
    parameter A_BITS   = 8,
    parameter B_BITS   = 8,
    parameter ACC_BITS = 32,
    parameter OVERFLOW = 0
) (
    input  wire signed [  A_BITS-1:0] a,
    input  wire signed [  B_BITS-1:0] b,
    input  wire signed [ACC_BITS-1:0] acc,
    output wire signed [ACC_BITS-1:0] out
);
    localparam P = A_BITS + B_BITS;
    localparam W = (P > ACC_BITS ? P : ACC_BITS) + 1;

    wire signed [P-1:0] wide_a  = {{(P - A_BITS){a[A_BITS-1]}}, a};
    wire signed [P-1:0] wide_b  = {{(P - B_BITS){b[B_BITS-1]}}, b};
    wire signed [P-1:0] product = wide_a * wide_b;
    wire signed [W-1:0] sum = {{(W - P){product[P-1]}}, product}
                            + {{(W - ACC_BITS){acc[ACC_BITS-1]}}, acc};

    fit #(.IN_BITS(W), .OUT_BITS(ACC_BITS), .OVERFLOW(OVERFLOW)) to_accumulator (
        .in (sum),
        .out(out)
    );
endmodule
