// Weight-stationary systolic array with its own sequencer.
//
// What: computes C[m,n] = A[m,k] B[k,n] fold after fold. A fold keeps a tile of
// r x c weights in the upper left of the R x C processing elements; activations
// enter at the left edge and move right, partial sums enter at the top and move
// down. Folds along k that belong to the same outputs follow one another: all
// but the last leave their sums in the partial-sum memory, from which all but
// the first take them again; the last one sends them through the requantizer at
// the bottom of each column.
//
// How the fold is asked for: hold `fold_valid`, t, r, c, first_k and last_k until
// `fold_done`, which is high in the fold's last cycle; the next cycle is the
// first one of the next fold. In a cycle with `weight_request` the array takes
// the weights of row `weight_row` (the bottom row first), in a cycle with
// `vector_request` one activation vector (element i in bits i*A_BITS and up),
// both without skew; what lies beyond r and c is ignored.
//
// Timing: counted are only the R weight rows and the t vectors, without a pause
// between them. All the rest follows from register chains:
//   - column j of a weight row, with the orders for the column's chain, passes
//     j registers before the top edge;
//   - element i of a vector passes i registers before the left edge;
//   - the number of the vector passes j registers to read the partial sum for
//     the top of column j, and R-1 more to be the address at which the sum that
//     leaves the column is written;
//   - a token leaves with the last vector and passes R-1 + C-1 registers, the
//     way to the bottom of the last column; it ends the fold.
// A sum leaves in the cycle at the end of which the bottom row latches it.
// All registers are 0 after a synchronous reset (the memory is not reset), and
// are not reset by a fold.

// One processing element. `load` makes the weight register take its neighbour's.
module ws_pe #(
    parameter A_BITS       = 8,
    parameter B_BITS       = 8,
    parameter ACC_BITS     = 32,
    parameter ACC_OVERFLOW = 0
) (
    input  wire                       clk,
    input  wire                       rst,
    input  wire signed [  A_BITS-1:0] a_in,
    input  wire                       a_in_valid,
    input  wire                       load,
    input  wire signed [  B_BITS-1:0] w_above,
    input  wire                       w_above_valid,
    input  wire signed [ACC_BITS-1:0] p_in,
    input  wire                       p_in_valid,
    output reg signed  [  A_BITS-1:0] a,
    output reg                        a_valid,
    output reg signed  [  B_BITS-1:0] w,
    output reg                        w_valid,
    output reg signed  [ACC_BITS-1:0] p,
    output reg                        p_valid,
    output wire signed [ACC_BITS-1:0] p_next  // what p latches at the next edge
);
    wire signed [ACC_BITS-1:0] sum;

    add_limit #(
        .A_BITS(A_BITS), .B_BITS(B_BITS), .ACC_BITS(ACC_BITS), .OVERFLOW(ACC_OVERFLOW)
    ) add (
        .a(a_in), .b(w), .acc(p_in), .out(sum)
    );

    assign p_next = a_in_valid && w_valid && p_in_valid ? sum : p_in;

    always_ff @(posedge clk) begin
        if (rst) begin
            a       <= 0;
            a_valid <= 0;
            w       <= 0;
            w_valid <= 0;
            p       <= 0;
            p_valid <= 0;
        end else begin
            a       <= a_in;
            a_valid <= a_in_valid;
            p       <= p_next;
            p_valid <= p_in_valid;
            if (load) begin
                w       <= w_above;
                w_valid <= w_above_valid;
            end
        end
    end
endmodule

module ws_array #(
    parameter R            = 4,
    parameter C            = 4,
    parameter A_BITS       = 8,
    parameter B_BITS       = 8,
    parameter ACC_BITS     = 32,
    parameter ACC_OVERFLOW = 0,
    parameter SHIFT        = 0,
    parameter ROUNDING     = 1,
    parameter OUT_BITS     = 8,
    parameter OUT_OVERFLOW = 0,
    parameter DEPTH        = 4096  // partial sums per column: the largest t
) (
    input  wire                    clk,
    input  wire                    rst,
    // The fold: t vectors, r rows, c columns, its place along k.
    input  wire                    fold_valid,
    input  wire [            31:0] t,
    input  wire [            31:0] r,
    input  wire [            31:0] c,
    input  wire                    first_k,
    input  wire                    last_k,
    output wire                    fold_done,
    // The weights, one row in a cycle.
    output wire                    weight_request,
    output wire [            31:0] weight_row,
    input  wire [    C*B_BITS-1:0] weights,
    // The activations, one vector in a cycle.
    output wire                    vector_request,
    input  wire [    R*A_BITS-1:0] vector,
    // The results at the bottom edge.
    output wire [           C-1:0] out_valid,
    output wire [  C*OUT_BITS-1:0] out,
    // All registers of the grid, element (i, j) at place i*C+j.
    output wire [  R*C*A_BITS-1:0] see_a,
    output wire [         R*C-1:0] see_a_valid,
    output wire [  R*C*B_BITS-1:0] see_w,
    output wire [         R*C-1:0] see_w_valid,
    output wire [R*C*ACC_BITS-1:0] see_p,
    output wire [         R*C-1:0] see_p_valid
);
    genvar i, j;

    // ---- Sequencer: R weight rows, t vectors, then wait for the last token.

    reg  [31:0] loaded;  // weight rows of this fold so far
    reg  [31:0] taken;   // vectors of this fold so far
    wire        last_vector = vector_request && taken + 1 == t;

    assign weight_request = fold_valid && loaded < R;
    assign weight_row     = R - 1 - loaded;
    assign vector_request = fold_valid && loaded == R && taken < t;

    always_ff @(posedge clk) begin
        if (rst || fold_done) begin
            loaded <= 0;
            taken  <= 0;
        end else begin
            if (weight_request) loaded <= loaded + 1;
            if (vector_request) taken <= taken + 1;
        end
    end

    delay #(.BITS(1), .CYCLES(R - 1 + C - 1)) finish (
        .clk(clk), .rst(rst), .in(last_vector), .out(fold_done)
    );

    // ---- Edges: skewed operands. What is not fed is 0 and invalid.

    // Into element (i, j) from the left: place i*(C+1)+j; from above: i*C+j.
    wire signed [  A_BITS-1:0] a      [0:R*(C+1)-1];
    wire                       a_valid[0:R*(C+1)-1];
    wire signed [  B_BITS-1:0] w      [0:(R+1)*C-1];
    wire                       w_valid[0:(R+1)*C-1];
    wire signed [ACC_BITS-1:0] p      [0:(R+1)*C-1];
    wire                       p_valid[0:(R+1)*C-1];
    wire signed [ACC_BITS-1:0] p_next [0:R*C-1];
    wire                       loading[0:C-1];  // the column's chain shifts,
    wire        [        31:0] shift  [0:C-1];  // for the first time as number 0

    generate
        for (i = 0; i < R; i = i + 1) begin : left
            wire              feed = vector_request && i < r;
            wire [A_BITS-1:0] code = feed ? vector[i*A_BITS+:A_BITS] : {A_BITS{1'b0}};
            delay #(.BITS(A_BITS + 1), .CYCLES(i)) skew (
                .clk(clk), .rst(rst), .in({feed, code}),
                .out({a_valid[i*(C+1)], a[i*(C+1)]})
            );
        end
        for (j = 0; j < C; j = j + 1) begin : top
            wire              feed = weight_request && weight_row < r && j < c;
            wire [B_BITS-1:0] code = feed ? weights[j*B_BITS+:B_BITS] : {B_BITS{1'b0}};
            delay #(.BITS(B_BITS + 1), .CYCLES(j)) skew (
                .clk(clk), .rst(rst), .in({feed, code}), .out({w_valid[j], w[j]})
            );
            delay #(.BITS(33), .CYCLES(j)) load_skew (
                .clk(clk), .rst(rst), .in({weight_request, loaded}),
                .out({loading[j], shift[j]})
            );
        end
    endgenerate

    // ---- Grid. A weight reaches row i in shift i of its column at the earliest;
    // until then the row keeps the weight it has.

    generate
        for (i = 0; i < R; i = i + 1) begin : row
            for (j = 0; j < C; j = j + 1) begin : column
                ws_pe #(
                    .A_BITS(A_BITS), .B_BITS(B_BITS), .ACC_BITS(ACC_BITS),
                    .ACC_OVERFLOW(ACC_OVERFLOW)
                ) pe (
                    .clk          (clk),
                    .rst          (rst),
                    .a_in         (a[i*(C+1)+j]),
                    .a_in_valid   (a_valid[i*(C+1)+j]),
                    .load         (loading[j] && shift[j] >= i),
                    .w_above      (w[i*C+j]),
                    .w_above_valid(w_valid[i*C+j]),
                    .p_in         (p[i*C+j]),
                    .p_in_valid   (p_valid[i*C+j]),
                    .a            (a[i*(C+1)+j+1]),
                    .a_valid      (a_valid[i*(C+1)+j+1]),
                    .w            (w[(i+1)*C+j]),
                    .w_valid      (w_valid[(i+1)*C+j]),
                    .p            (p[(i+1)*C+j]),
                    .p_valid      (p_valid[(i+1)*C+j]),
                    .p_next       (p_next[i*C+j])
                );
                assign see_a[(i*C+j)*A_BITS+:A_BITS]     = a[i*(C+1)+j+1];
                assign see_a_valid[i*C+j]                = a_valid[i*(C+1)+j+1];
                assign see_w[(i*C+j)*B_BITS+:B_BITS]     = w[(i+1)*C+j];
                assign see_w_valid[i*C+j]                = w_valid[(i+1)*C+j];
                assign see_p[(i*C+j)*ACC_BITS+:ACC_BITS] = p[(i+1)*C+j];
                assign see_p_valid[i*C+j]                = p_valid[(i+1)*C+j];
            end
        end
    endgenerate

    // ---- Partial-sum memory and bottom edge, column by column.

    generate
        for (j = 0; j < C; j = j + 1) begin : sums
            reg signed  [ACC_BITS-1:0] memory[0:DEPTH-1];
            wire                       read;
            wire        [        31:0] read_at;
            wire        [        31:0] write_at;
            wire signed [ACC_BITS-1:0] leaving       = p_next[(R-1)*C+j];
            wire                       leaving_valid = p_valid[(R-1)*C+j];
            wire signed [OUT_BITS-1:0] code;

            delay #(.BITS(33), .CYCLES(j)) to_top (
                .clk(clk), .rst(rst), .in({vector_request && j < c, taken}),
                .out({read, read_at})
            );
            delay #(.BITS(32), .CYCLES(R - 1)) to_bottom (
                .clk(clk), .rst(rst), .in(read_at), .out(write_at)
            );

            assign p_valid[j] = read;
            assign p[j]       = read && !first_k ? memory[read_at] : {ACC_BITS{1'b0}};

            always_ff @(posedge clk) begin
                if (leaving_valid && !last_k) memory[write_at] <= leaving;
            end

            requantize #(
                .IN_BITS(ACC_BITS), .SHIFT(SHIFT), .ROUNDING(ROUNDING),
                .OUT_BITS(OUT_BITS), .OVERFLOW(OUT_OVERFLOW)
            ) requantizer (
                .in(leaving), .out(code)
            );
            assign out_valid[j]              = leaving_valid && last_k;
            assign out[j*OUT_BITS+:OUT_BITS] = out_valid[j] ? code : {OUT_BITS{1'b0}};
        end
    endgenerate
endmodule
