// Compares every register of os_array in every cycle with a case file.
//
// What: for each case of the file, resets the array, gives it the folds one
// after the other, and compares, line by line, what the file expects. The
// judge (judge.sv) reports and counts. Cycles and codes are counted from 0; the
// outputs of a column are reported as those of row R.
//
//   <number of cases>
//   per case: F E                     folds, cycles of the case
//     per fold: T r c first_k last_k  (the last two have no meaning here)
//       T lines: R values of A[.,k], C values of B[k,.]
//     E lines: for every element, row by row, a a_valid b b_valid acc
//       after the cycle's clock edge; for every column out_valid out during it
//
// How: the testbench knows nothing of the array's timing. It hands out the next
// pair when the array asks for one, the next fold when the array says that one
// is done, and counts the clock edges until the last fold is done. An array
// that is not done 1000 cycles after E is stopped.
// Timing: a cycle takes 2 time units of the simulator. Its inputs settle while
// clk is low, its outputs are sampled just before clk rises, the registers after.
module os_tb;
    parameter R            = 4;
    parameter C            = 4;
    parameter A_BITS       = 8;
    parameter B_BITS       = 8;
    parameter ACC_BITS     = 32;
    parameter ACC_OVERFLOW = 0;
    parameter SHIFT        = 0;
    parameter ROUNDING     = 1;
    parameter OUT_BITS     = 8;
    parameter OUT_OVERFLOW = 0;
    parameter MAX_FOLDS    = 4096;   // of a case
    parameter MAX_PAIRS    = 65536;  // of a case, all its folds together

    // ---- The stimuli of a case.

    integer            fold_t   [0:MAX_FOLDS-1];
    integer            fold_r   [0:MAX_FOLDS-1];
    integer            fold_c   [0:MAX_FOLDS-1];
    integer            fold_pair[0:MAX_FOLDS-1];  // the fold's first pair
    reg [R*A_BITS-1:0] pair_a   [0:MAX_PAIRS-1];
    reg [C*B_BITS-1:0] pair_b   [0:MAX_PAIRS-1];

    // ---- The array.

    reg         clk = 0;
    reg         rst = 0;
    reg         fold_valid = 0;
    reg  [31:0] t = 0, r = 0, c = 0;
    wire        fold_done, pair_request;
    reg  [R*A_BITS-1:0] a_column = 0;
    reg  [C*B_BITS-1:0] b_row    = 0;

    wire [           C-1:0] out_valid;
    wire [  C*OUT_BITS-1:0] out;
    wire [  R*C*A_BITS-1:0] see_a;
    wire [         R*C-1:0] see_a_valid;
    wire [  R*C*B_BITS-1:0] see_b;
    wire [         R*C-1:0] see_b_valid;
    wire [R*C*ACC_BITS-1:0] see_acc;

    os_array #(
        .R(R), .C(C), .A_BITS(A_BITS), .B_BITS(B_BITS), .ACC_BITS(ACC_BITS),
        .ACC_OVERFLOW(ACC_OVERFLOW), .SHIFT(SHIFT), .ROUNDING(ROUNDING),
        .OUT_BITS(OUT_BITS), .OUT_OVERFLOW(OUT_OVERFLOW)
    ) array (
        .clk(clk), .rst(rst), .fold_valid(fold_valid), .t(t), .r(r), .c(c),
        .fold_done(fold_done), .pair_request(pair_request), .a_column(a_column),
        .b_row(b_row), .out_valid(out_valid), .out(out), .see_a(see_a),
        .see_a_valid(see_a_valid), .see_b(see_b), .see_b_valid(see_b_valid),
        .see_acc(see_acc)
    );

    judge judge ();

    // ---- One case.

    integer folds, expected_cycles, cycle, fold, pair, number, f, n, i, j, value;

    // What the array saw and said in a cycle, just before the edge.
    reg                  was_done, was_request;
    reg [         C-1:0] was_valid;
    reg [C*OUT_BITS-1:0] was_out;

    task read_stimuli;
        begin
            number = 0;
            judge.take_within(1, MAX_FOLDS, folds);
            judge.take_within(1, 2147483647 - 1000, expected_cycles);
            for (f = 0; f < folds && !judge.ended; f = f + 1) begin
                judge.take_within(1, MAX_PAIRS - number, fold_t[f]);
                judge.take_within(1, R, fold_r[f]);
                judge.take_within(1, C, fold_c[f]);
                judge.take_within(0, 1, value);
                judge.take_within(0, 1, value);
                fold_pair[f] = number;
                for (n = 0; n < fold_t[f] && !judge.ended; n = n + 1) begin
                    for (i = 0; i < R; i = i + 1) begin
                        judge.take_within(-1 << (A_BITS - 1), ~(-1 << (A_BITS - 1)), value);
                        pair_a[number][i*A_BITS+:A_BITS] = value[A_BITS-1:0];
                    end
                    for (j = 0; j < C; j = j + 1) begin
                        judge.take_within(-1 << (B_BITS - 1), ~(-1 << (B_BITS - 1)), value);
                        pair_b[number][j*B_BITS+:B_BITS] = value[B_BITS-1:0];
                    end
                    number = number + 1;
                end
            end
        end
    endtask

    // The fold that the array works on, and what it gets if it asks.
    task drive;
        begin
            fold_valid = fold < folds;
            if (fold_valid) begin
                t = fold_t[fold];
                r = fold_r[fold];
                c = fold_c[fold];
                n = fold_pair[fold] + pair;
                a_column = n < MAX_PAIRS ? pair_a[n] : 0;
                b_row    = n < MAX_PAIRS ? pair_b[n] : 0;
            end
        end
    endtask

    task compare_line;
        begin
            for (i = 0; i < R && !judge.ended; i = i + 1)
                for (j = 0; j < C && !judge.ended; j = j + 1) begin
                    n = i * C + j;
                    value = 32'($signed(see_a[n*A_BITS+:A_BITS]));
                    judge.compare(cycle, i, j, "a", value);
                    value = {31'b0, see_a_valid[n]};
                    judge.compare(cycle, i, j, "a_valid", value);
                    value = 32'($signed(see_b[n*B_BITS+:B_BITS]));
                    judge.compare(cycle, i, j, "b", value);
                    value = {31'b0, see_b_valid[n]};
                    judge.compare(cycle, i, j, "b_valid", value);
                    value = 32'($signed(see_acc[n*ACC_BITS+:ACC_BITS]));
                    judge.compare(cycle, i, j, "acc", value);
                end
            for (j = 0; j < C && !judge.ended; j = j + 1) begin
                value = {31'b0, was_valid[j]};
                judge.compare(cycle, R, j, "out_valid", value);
                value = 32'($signed(was_out[j*OUT_BITS+:OUT_BITS]));
                judge.compare(cycle, R, j, "out", value);
            end
        end
    endtask

    // ---- All cases. Without events the simulation ends by itself.

    integer total;

    initial begin
        judge.open;
        if (ROUNDING < 0 || ROUNDING > 4 || SHIFT < 0 || ACC_OVERFLOW < 0 ||
            ACC_OVERFLOW > 2 || OUT_OVERFLOW < 0 || OUT_OVERFLOW > 2)
            judge.fail("a parameter has no meaning");
        judge.take_within(0, 2147483647, total);
        while (judge.cases < total && !judge.ended) begin
            read_stimuli;
            fold_valid = 0;
            rst = 1;
            #1 clk = 1;
            #1 clk = 0;
            rst   = 0;
            cycle = 0;
            fold  = 0;
            pair  = 0;
            while (fold < folds && cycle < expected_cycles + 1000 && !judge.ended) begin
                drive;
                #1;
                was_done    = fold_done;
                was_request = pair_request;
                was_valid   = out_valid;
                was_out     = out;
                clk = 1;
                #1;
                if (cycle < expected_cycles) compare_line;
                if (was_request) pair = pair + 1;
                if (was_done) begin
                    judge.compare_count("pairs taken", pair, fold_t[fold]);
                    fold = fold + 1;
                    pair = 0;
                end
                cycle = cycle + 1;
                clk = 0;
            end
            judge.cycles = judge.cycles + cycle;
            if (!judge.ended) begin
                judge.compare_count("folds done", fold, folds);
                judge.compare_count("cycles", cycle, expected_cycles);
                for (f = cycle; f < expected_cycles && !judge.ended; f = f + 1)
                    for (n = 0; n < R * C * 5 + C * 2; n = n + 1) judge.take(value);
                if (!judge.ended) judge.cases = judge.cases + 1;
            end
        end
        judge.close;
    end
endmodule
