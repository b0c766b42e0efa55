# Perl Crypt::JWT: one question a line on stdin, one verdict a line on stdout.
use strict;
use warnings;
use Crypt::JWT qw(decode_jwt);
use JSON::PP;
use LWP::UserAgent;

$| = 1;
my $agent = LWP::UserAgent->new;
while (my $line = <STDIN>) {
    my $question = decode_json($line);
    my $why = "";
    eval {
        my $keys = decode_json($agent->get($question->{jwks})->content);
        decode_jwt(
            token        => $question->{token},
            kid_keys     => $keys,
            accepted_alg => $question->{alg},
            verify_iss   => sub { !ref $_[0] && $_[0] eq $question->{issuer} },
            verify_aud   => sub {
                my @audiences = ref $_[0] eq "ARRAY" ? @{ $_[0] } : ($_[0]);
                return scalar grep { $_ eq $question->{audience} } @audiences;
            },
            verify_exp   => 1,
            verify_iat   => undef,
        );
        1;
    } or $why = "$@" || "refused";
    print JSON::PP->new->ascii->encode({ why => $why }), "\n";
}
