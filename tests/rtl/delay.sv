// A chain of registers: the skew at the edges of an array, and the chains in
// which the sequencer's tokens travel.
//
// What: `out` is what `in` was CYCLES cycles ago; `in` itself when CYCLES is 0.
// Timing: CYCLES registers, all 0 after a synchronous reset.
module delay #(
    parameter BITS   = 1,
    parameter CYCLES = 0
) (
    input  wire            clk,
    input  wire            rst,
    input  wire [BITS-1:0] in,
    output wire [BITS-1:0] out
);
    generate
        if (CYCLES == 0) begin : none
            assign out = in;
        end else begin : some
            // The newest value in the low bits.
            reg  [BITS*CYCLES-1:0] stages;
            wire [BITS*CYCLES+BITS-1:0] shifted = {stages, in};
            always_ff @(posedge clk) begin
                if (rst) stages <= 0;
                else stages <= shifted[BITS*CYCLES-1:0];
            end
            assign out = stages[BITS*CYCLES-1-:BITS];
        end
    endgenerate
endmodule
