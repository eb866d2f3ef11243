// Output-stationary systolic array with its own sequencer.
//
// What: computes C[m,n] = A[m,k] B[k,n] fold after fold. A fold uses the upper
// left r x c of the R x C processing elements; every element keeps the sum of
// one output while a column of A enters at the left edge and a row of B at the
// top edge in each cycle. At the end of the fold each column moves its sums out
// at the bottom, through a requantizer of its own.
//
// How the fold is asked for: hold `fold_valid` and t, r, c until `fold_done`,
// which is high in the fold's last cycle; the next cycle is the first one of
// the next fold. In a cycle with `pair_request` the array takes one column of A
// (element i in bits i*A_BITS and up) and one row of B, without skew; what lies
// beyond r and c is ignored.
//
// Timing: nothing is counted but the pairs taken. All the rest follows from
// register chains:
//   - row i of A passes i registers before its edge, column j of B passes j;
//   - a token leaves with the last pair and passes R registers, one for each
//     row that the pair has to reach, then starts the drain of column 0, in
//     which it needs R more cycles, one for each row that leaves;
//   - each column starts its drain one register after its left neighbour;
//   - the token of the last column's last row ends the fold.
// Outputs are combinational: the bottom accumulator before the clock's edge.
// All registers are 0 after a synchronous reset, and are not reset by a fold.

// One processing element. `drain` makes the accumulator a stage of the column's
// shift register instead of adding to it.
module os_pe #(
    parameter A_BITS       = 8,
    parameter B_BITS       = 8,
    parameter ACC_BITS     = 32,
    parameter ACC_OVERFLOW = 0
) (
    input  wire                       clk,
    input  wire                       rst,
    input  wire signed [  A_BITS-1:0] a_in,
    input  wire                       a_in_valid,
    input  wire signed [  B_BITS-1:0] b_in,
    input  wire                       b_in_valid,
    input  wire                       drain,
    input  wire signed [ACC_BITS-1:0] acc_above,
    output reg signed  [  A_BITS-1:0] a,
    output reg                        a_valid,
    output reg signed  [  B_BITS-1:0] b,
    output reg                        b_valid,
    output reg signed  [ACC_BITS-1:0] acc
);
    wire signed [ACC_BITS-1:0] sum;

    add_limit #(
        .A_BITS(A_BITS), .B_BITS(B_BITS), .ACC_BITS(ACC_BITS), .OVERFLOW(ACC_OVERFLOW)
    ) add (
        .a(a_in), .b(b_in), .acc(acc), .out(sum)
    );

    always_ff @(posedge clk) begin
        if (rst) begin
            a       <= 0;
            a_valid <= 0;
            b       <= 0;
            b_valid <= 0;
            acc     <= 0;
        end else begin
            a       <= a_in;
            a_valid <= a_in_valid;
            b       <= b_in;
            b_valid <= b_in_valid;
            if (drain) acc <= acc_above;
            else if (a_in_valid && b_in_valid) acc <= sum;
        end
    end
endmodule

module os_array #(
    parameter R            = 4,
    parameter C            = 4,
    parameter A_BITS       = 8,
    parameter B_BITS       = 8,
    parameter ACC_BITS     = 32,
    parameter ACC_OVERFLOW = 0,
    parameter SHIFT        = 0,
    parameter ROUNDING     = 1,
    parameter OUT_BITS     = 8,
    parameter OUT_OVERFLOW = 0
) (
    input  wire                    clk,
    input  wire                    rst,
    // The fold: t pairs, r rows, c columns.
    input  wire                    fold_valid,
    input  wire [            31:0] t,
    input  wire [            31:0] r,
    input  wire [            31:0] c,
    output wire                    fold_done,
    // The operands, one column of A and one row of B in a cycle.
    output wire                    pair_request,
    input  wire [    R*A_BITS-1:0] a_column,
    input  wire [    C*B_BITS-1:0] b_row,
    // The results at the bottom edge.
    output wire [           C-1:0] out_valid,
    output wire [  C*OUT_BITS-1:0] out,
    // All registers of the grid, element (i, j) at place i*C+j.
    output wire [  R*C*A_BITS-1:0] see_a,
    output wire [         R*C-1:0] see_a_valid,
    output wire [  R*C*B_BITS-1:0] see_b,
    output wire [         R*C-1:0] see_b_valid,
    output wire [R*C*ACC_BITS-1:0] see_acc
);
    genvar i, j;

    // ---- Sequencer: ask for t pairs, then wait for the token of the last one.

    reg  [31:0] taken;  // pairs of this fold so far
    wire        last_pair = pair_request && taken + 1 == t;

    assign pair_request = fold_valid && taken < t;

    always_ff @(posedge clk) begin
        if (rst || fold_done) taken <= 0;
        else if (pair_request) taken <= taken + 1;
    end

    // leaving[s]: column 0 is in shift s of its drain, row R-1-s leaves.
    wire [R-1:0] leaving;
    wire [R-1:0] leaving_used;
    generate
        delay #(.BITS(1), .CYCLES(R)) reach (
            .clk(clk), .rst(rst), .in(last_pair), .out(leaving[0])
        );
        for (i = 0; i < R; i = i + 1) begin : shifts
            if (i > 0) begin : later
                delay #(.BITS(1), .CYCLES(1)) next (
                    .clk(clk), .rst(rst), .in(leaving[i-1]), .out(leaving[i])
                );
            end
            assign leaving_used[i] = leaving[i] && R - 1 - i < r;
        end
    endgenerate

    delay #(.BITS(1), .CYCLES(C - 1)) finish (
        .clk(clk), .rst(rst), .in(leaving[R-1]), .out(fold_done)
    );

    // ---- Edges: skewed operands. What is not fed is 0 and invalid.

    // Into element (i, j) from the left: place i*(C+1)+j; from above: i*C+j.
    wire signed [  A_BITS-1:0] a      [0:R*(C+1)-1];
    wire                       a_valid[0:R*(C+1)-1];
    wire signed [  B_BITS-1:0] b      [0:(R+1)*C-1];
    wire                       b_valid[0:(R+1)*C-1];
    wire signed [ACC_BITS-1:0] acc    [0:(R+1)*C-1];
    wire                       drain  [0:C-1];
    wire                       used   [0:C-1];

    generate
        for (i = 0; i < R; i = i + 1) begin : left
            wire              feed = pair_request && i < r;
            wire [A_BITS-1:0] code = feed ? a_column[i*A_BITS+:A_BITS] : {A_BITS{1'b0}};
            delay #(.BITS(A_BITS + 1), .CYCLES(i)) skew (
                .clk(clk), .rst(rst), .in({feed, code}),
                .out({a_valid[i*(C+1)], a[i*(C+1)]})
            );
        end
        for (j = 0; j < C; j = j + 1) begin : top
            wire              feed = pair_request && j < c;
            wire [B_BITS-1:0] code = feed ? b_row[j*B_BITS+:B_BITS] : {B_BITS{1'b0}};
            delay #(.BITS(B_BITS + 1), .CYCLES(j)) skew (
                .clk(clk), .rst(rst), .in({feed, code}), .out({b_valid[j], b[j]})
            );
            delay #(.BITS(2), .CYCLES(j)) drain_skew (
                .clk(clk), .rst(rst), .in({|leaving, |leaving_used}),
                .out({drain[j], used[j]})
            );
            assign acc[j] = 0;
        end
    endgenerate

    // ---- Grid.

    generate
        for (i = 0; i < R; i = i + 1) begin : row
            for (j = 0; j < C; j = j + 1) begin : column
                os_pe #(
                    .A_BITS(A_BITS), .B_BITS(B_BITS), .ACC_BITS(ACC_BITS),
                    .ACC_OVERFLOW(ACC_OVERFLOW)
                ) pe (
                    .clk       (clk),
                    .rst       (rst),
                    .a_in      (a[i*(C+1)+j]),
                    .a_in_valid(a_valid[i*(C+1)+j]),
                    .b_in      (b[i*C+j]),
                    .b_in_valid(b_valid[i*C+j]),
                    .drain     (drain[j]),
                    .acc_above (acc[i*C+j]),
                    .a         (a[i*(C+1)+j+1]),
                    .a_valid   (a_valid[i*(C+1)+j+1]),
                    .b         (b[(i+1)*C+j]),
                    .b_valid   (b_valid[(i+1)*C+j]),
                    .acc       (acc[(i+1)*C+j])
                );
                assign see_a[(i*C+j)*A_BITS+:A_BITS]       = a[i*(C+1)+j+1];
                assign see_a_valid[i*C+j]                  = a_valid[i*(C+1)+j+1];
                assign see_b[(i*C+j)*B_BITS+:B_BITS]       = b[(i+1)*C+j];
                assign see_b_valid[i*C+j]                  = b_valid[(i+1)*C+j];
                assign see_acc[(i*C+j)*ACC_BITS+:ACC_BITS] = acc[(i+1)*C+j];
            end
        end
    endgenerate

    // ---- Bottom edge: one requantizer per column.

    generate
        for (j = 0; j < C; j = j + 1) begin : bottom
            wire signed [OUT_BITS-1:0] code;
            requantize #(
                .IN_BITS(ACC_BITS), .SHIFT(SHIFT), .ROUNDING(ROUNDING),
                .OUT_BITS(OUT_BITS), .OVERFLOW(OUT_OVERFLOW)
            ) requantizer (
                .in(acc[R*C+j]), .out(code)
            );
            assign out_valid[j]                = used[j] && j < c;
            assign out[j*OUT_BITS+:OUT_BITS] = out_valid[j] ? code : {OUT_BITS{1'b0}};
        end
    endgenerate
endmodule
