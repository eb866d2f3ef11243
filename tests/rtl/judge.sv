// What both testbenches share: the case file and the count of mismatches.
//
// What: reads whitespace-separated signed decimal integers from the file named
// by +cases=FILE, compares found with expected values, prints the first few
// differences, and prints the one line that decides:
//   cases <n> cycles <total> mismatches <count>
// How: the testbench calls the tasks of its instance of this module. A file that
// cannot be opened, ends early, holds something else than integers, or goes on
// after its last case, is a mismatch; `ended` then says to stop.
// Timing: none, no task takes simulated time.
module judge;
    parameter MAX_REPORTS = 10;

    integer file       = 0;
    integer cases      = 0;  // compared to their end
    integer cycles     = 0;  // run, in all cases
    integer mismatches = 0;
    reg     ended      = 0;

    reg [8*4096-1:0] name;

    task open;
        begin
            if (!$value$plusargs("cases=%s", name)) begin
                fail("no +cases=FILE");
            end else begin
                file = $fopen(name, "r");
                if (file == 0) fail("the case file cannot be opened");
            end
        end
    endtask

    // The next integer; 0 after the end.
    task take(output integer value);
        integer got;
        begin
            value = 0;
            if (!ended) begin
                got = $fscanf(file, "%d", value);
                if (got != 1) begin
                    value = 0;
                    fail("the case file ends early");
                end
            end
        end
    endtask

    // The next integer, which has to lie within the limits.
    task take_within(input integer least, input integer most, output integer value);
        begin
            take(value);
            if (!ended && (value < least || value > most)) begin
                $display("case %0d: %0d is not within %0d and %0d", cases, value, least, most);
                fail("the case file does not fit the parameters");
                value = least;
            end
        end
    endtask

    // Stops everything: nothing after this can be compared.
    task fail(input [8*64-1:0] reason);
        begin
            $display("mismatch: case %0d: %0s", cases, reason);
            mismatches = mismatches + 1;
            ended      = 1;
        end
    endtask

    // A difference of the case as a whole, not of one register in one cycle.
    task compare_count(input [8*32-1:0] what, input integer found, input integer expected);
        begin
            if (found !== expected) begin
                mismatches = mismatches + 1;
                if (mismatches <= MAX_REPORTS)
                    $display("mismatch: case %0d: %0s: found %0d expected %0d", cases, what, found, expected);
            end
        end
    endtask

    // Compares a register with the next integer of the file.
    task compare(input integer cycle, input integer row, input integer col,
                 input [8*16-1:0] register, input integer found);
        integer expected;
        begin
            take(expected);
            if (!ended && found !== expected) begin
                mismatches = mismatches + 1;
                if (mismatches <= MAX_REPORTS)
                    $display("mismatch: case %0d, cycle %0d, row %0d, col %0d, %0s, found %0d, expected %0d",
                             cases, cycle, row, col, register, found, expected);
            end
        end
    endtask

    // The file has to end here; the last line.
    task close;
        integer got, rest;
        begin
            if (!ended) begin
                got = $fscanf(file, "%d", rest);
                if (got == 1) fail("the case file goes on after its last case");
            end
            if (file != 0) $fclose(file);
            $display("cases %0d cycles %0d mismatches %0d", cases, cycles, mismatches);
        end
    endtask
endmodule
